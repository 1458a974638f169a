"""Components that use observations of their own are examined in the world of a capture that offers them."""

from __future__ import annotations

import pytest

from lipflow_core.plans import Mismatch
from lipflow_core.testing import Subject, check_component


@pytest.mark.parametrize("kind", ["encoder", "objective", "metric"])
def test_a_component_of_a_new_modality_passes_with_its_capture(registry, kind):
    report = check_component(kind, "cloud", registry=registry, capture="cloud")
    assert report.passed, str(report)


@pytest.mark.parametrize("kind", ["encoder", "objective", "metric"])
def test_without_that_capture_it_can_not_be_examined(registry, kind):
    with pytest.raises(Mismatch, match="which the capture lacks"):
        check_component(kind, "cloud", registry=registry)


def test_shipped_components_pass_in_the_world_of_a_capture(registry):
    capture = {"type": "cloud", "frames": 5}
    for kind, name in (("encoder", "dam"), ("decoder", "dam"), ("objective", "photometric"), ("metric", "psnr")):
        report = check_component(kind, name, registry=registry, capture=capture)
        assert report.passed, str(report)


def test_the_capture_of_a_subject_may_be_a_part(registry):
    part = Subject.of("capture", "cloud", registry=registry).part
    subject = Subject.of("encoder", "cloud", registry=registry, capture=part)
    assert subject.given.observations["cloud"] == {"points": (7, 3)}
    assert subject.world.frame(3)["cloud"].points.shape == (3, 7, 3)


def test_a_sample_of_a_world_is_the_same_in_batches_of_any_size(registry):
    for capture in (None, "cloud"):
        world = Subject.of("encoder", "dam", registry=registry, capture=capture).world
        surface = world.roles.surface
        few, many = world.frame(2, seed=3)[surface], world.frame(20, seed=3)[surface]
        assert few.vertices.equal(many.vertices[:2])


def test_the_names_of_the_kits_own_observations_are_those_of_the_registry(tmp_path):
    from lipflow_core.registry import Registry, find_layers

    (tmp_path / "registry.toml").write_text(
        '[defaults]\nobservations = { surface = "hand", training_views = "ring", scored_view = "above", '
        'driving_views = "glove", keypoints = "joints" }\n'
    )
    world = Subject.of("decoder", "dam", registry=Registry(find_layers(tmp_path))).world
    assert set(world.observations) == {"hand", "ring", "above", "glove", "joints"}
    assert world.roles.scored_view == "above"
