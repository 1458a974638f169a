"""What a spec resolves to: defaults, presets, the file's own presets, overrides."""

from typing import ClassVar

import pytest

from lipflow_core.config import Config
from lipflow_core.errors import SpecError
from lipflow_core.parts import CouplingSlot
from lipflow_core.registry import Registry, find_layers
from lipflow_core.specs import Spec, dump_spec, load_spec
from lipflow_core.specs.model import PRESETS
from lipflow_core.specs.options import parse_override

BASE = {
    "name": "x",
    "capture": "dome",
    "encoder": "dam",
    "driving": "hmc",
    "prior": "flow",
    "flow": "glow",
    "decoder": "dam",
    "fitting": {"objectives": ["photometric", "latent-likelihood"]},
}


def load(*overrides, **blocks):
    return load_spec({**BASE, **blocks}, overrides)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["dam", "lip-flow-hmc", "lip-flow-keypoint"])
def test_a_resolved_spec_loads_back_to_an_equal_one(name, preset, tmp_path):
    spec = load_spec(name, [f"preset={preset}"])
    file = tmp_path / "spec.yaml"
    file.write_text(dump_spec(spec))
    assert load_spec(file) == spec
    assert dump_spec(load_spec(file)) == dump_spec(spec)


@pytest.mark.parametrize(
    "overrides",
    [
        ["training.stages.0.objectives.divergence.weight={start: 0, end: 1, steps: 10}"],
        ["encoder={same_as: driving}", "fitting.prior=kl", "fitting.pose={}", "fitting.grid={}"],
        ["capture.subject=p02", "flow.coupling={type: affine-clamped, grow: 1e-3}", "seed=3"],
    ],
)
def test_resolved_specs_hold_unions_shared_slots_and_nested_parts(overrides, tmp_path):
    spec = load(*overrides)
    file = tmp_path / "spec.yaml"
    file.write_text(dump_spec(spec))
    assert load_spec(file) == spec


def test_strings_that_look_like_something_else_survive(tmp_path):
    for name in ("1e-3", "no", "0x10", "12"):
        file = tmp_path / "spec.yaml"
        file.write_text(dump_spec(load(name=name)))
        assert load_spec(file).name == name


def test_defaults_are_the_papers():
    spec = load_spec("lip-flow-hmc")
    assert spec.code == 256
    assert spec.flow.config.steps == 4
    assert spec.training.batch == 16
    assert spec.training.stages[0].steps == 200_000
    objectives = {part.name: part.config.weight for part in spec.training.stages[0].objectives}
    assert objectives == {"photometric": 10, "geometry": 1, "divergence": None}


def test_a_preset_reaches_every_block_and_component():
    spec = load("preset=tiny")
    assert spec.code == 8
    assert spec.flow.config.hidden == 32
    assert spec.training.batch == 4
    assert spec.training.stages[0].steps == 8
    assert spec.evaluation.frames == 4


def test_a_preset_lies_under_what_the_file_says():
    spec = load("preset=tiny", code=12, training={"batch": 7}, flow={"type": "glow", "hidden": 24})
    assert (spec.code, spec.training.batch, spec.training.evaluate_every) == (12, 7, 4)
    assert (spec.flow.config.hidden, spec.flow.config.steps) == (24, 2)


def test_a_files_own_preset_lies_over_the_rest_of_the_file_and_is_gone_afterwards():
    presets = {"tiny": {"code": 6, "flow": {"steps": 3}, "training.stages.0.steps": 5}, "small": {"code": 7}}
    spec = load("preset=tiny", code=12, presets=presets)
    assert (spec.code, spec.flow.config.steps, spec.flow.config.hidden) == (6, 3, 32)
    assert spec.training.stages[0].steps == 5
    assert "presets:" not in dump_spec(spec)
    assert load(code=12, presets=presets).code == 12


def test_a_hash_in_an_override_is_part_of_the_value():
    assert parse_override("capture.path=/data/run #3")[1].data == "/data/run #3"
    assert parse_override("capture.path='/data/run #3'")[1].data == "/data/run #3"


def test_an_override_beats_everything():
    assert load("code=5", "preset=tiny", code=12, presets={"tiny": {"code": 6}}).code == 5


def test_an_override_sets_an_option_of_a_component_written_as_a_name():
    assert load("flow.steps=2").flow.config.steps == 2


def test_an_override_sets_an_option_of_a_slots_default_component():
    assert load("renderer.near=2").renderer.config.near == 2
    assert load("flow.coupling.type=affine-clamped", "flow.coupling.grow=0.5").flow.config.coupling.config.grow == 0.5


def test_an_override_of_a_list_entry_leaves_the_others():
    spec = load("fitting.objectives.1.weight=0.5")
    assert [part.name for part in spec.fitting.objectives] == ["photometric", "latent-likelihood"]
    assert spec.fitting.objectives[1].config.weight == 0.5


def test_an_override_reaches_into_a_list_that_is_not_written_out():
    spec = load("training.stages.0.steps=100", "preset=small")
    assert spec.training.stages[0].steps == 100
    assert spec.training.stages[0].learning_rate == 2e-3


@pytest.mark.parametrize("change", ["encoder=keypoint", "encoder.type=keypoint"])
def test_another_component_drops_the_options_of_the_one_before(change):
    spec = load(change, encoder={"type": "dam", "width": 0.5})
    assert spec.encoder.name == "keypoint"


def test_options_of_a_new_component_may_come_before_it():
    spec = load("driving.features=32", "driving.type=hmc", driving={"type": "keypoint", "hidden": 9})
    assert spec.driving.config.features == 32


def test_null_empties_a_slot():
    spec = load("driving=~", "flow=null", "prior=standard-normal")
    assert spec.driving is None
    assert spec.flow is None


def test_the_last_of_two_equal_overrides_counts():
    assert load("code=3", "code=4").code == 4


def test_a_shared_slot_can_be_taken_back():
    assert load("encoder.type=dam", encoder={"same_as": "driving"}).encoder.name == "dam"
    assert load("encoder={same_as: driving}").encoder.same_as == "driving"


def test_equal_specs_from_python_and_from_yaml(tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text(
        "name: x\ncapture: dome\nencoder: dam\ndriving: hmc\nprior: flow\nflow: glow\ndecoder: dam\n"
        "fitting: {objectives: [photometric, latent-likelihood]}\n"
    )
    assert load_spec(file) == load()
    assert isinstance(load(), Spec)


def test_a_spec_knows_where_its_values_stand():
    spec = load_spec("dam", ["seed=3"])
    assert spec.origins["name",].line > 0
    assert str(spec.origins["seed",]) == "override 'seed=3'"


def test_a_folder_is_no_spec(tmp_path):
    with pytest.raises(SpecError, match="is a folder"):
        load_spec(tmp_path)


class Inner(Config):
    width: int = 100
    depth: int = 10

    presets: ClassVar[dict] = {"tiny": {"width": 1}}


class Outer(Config):
    """A third party's options, with blocks, lists of blocks and a slot."""

    first: Inner = Inner()
    second: Inner = Inner(depth=20)
    several: tuple[Inner, ...] = (Inner(), Inner(width=7))
    coupling: CouplingSlot = "affine-clamped"

    presets: ClassVar[dict] = {"tiny": {"first": {"depth": 2}, "coupling": {"type": "affine-clamped", "grow": 0.5}}}


def resolved(given, preset="tiny"):
    return Outer.model_validate(given, context={"preset": preset})


def test_presets_reach_the_nested_blocks_of_any_component():
    options = resolved({})
    assert (options.first.width, options.first.depth) == (1, 2)
    assert (options.second.width, options.second.depth) == (1, 20)
    assert [inner.width for inner in options.several] == [1, 7]
    assert options.coupling.config.grow == 0.5


def test_what_is_given_for_a_nested_block_lies_over_its_presets():
    options = resolved({"first": {"width": 5}, "coupling": {"shrink": 3}, "several": {"1": {"depth": 4}}})
    assert (options.first.width, options.first.depth) == (5, 2)
    assert (options.coupling.config.grow, options.coupling.config.shrink) == (0.5, 3)
    assert (options.several[1].width, options.several[1].depth) == (7, 4)


def test_another_component_takes_none_of_a_presets_options():
    assert resolved({"coupling": "spline"}).coupling.name == "spline"
    assert resolved({"coupling": "affine-clamped"}).coupling.config.grow == 0.5


def test_a_preset_that_a_block_does_not_know_changes_nothing():
    assert resolved({}, "small") == resolved({}, None)


def test_a_component_of_a_clashing_name_is_written_so_that_it_is_found_again(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from lipflow_core.hooks import Component, hookimpl\n"
        "@hookimpl\n"
        "def lipflow_components():\n"
        "    yield Component(kind='prior', name='kl', summary='one', \n"
        "                    config='lipflow_priors.config:StandardNormalConfig',\n"
        "                    implementation='lipflow_priors.gaussian:StandardNormalPrior')\n"
    )
    (tmp_path / "registry.toml").write_text('[plugins.mine]\npath = "./mine.py"\n')
    registry = Registry(find_layers(tmp_path))
    spec = load_spec({**BASE, "prior": "mine:kl"}, registry=registry)
    assert spec.prior.distribution == "mine"
    (tmp_path / "spec.yaml").write_text(dump_spec(spec))
    assert "type: mine:kl" in (tmp_path / "spec.yaml").read_text()
    assert load_spec(tmp_path / "spec.yaml", registry=registry) == spec


def test_one_override_may_stand_without_a_list():
    assert load_spec("lip-flow-hmc", "preset=tiny") == load_spec("lip-flow-hmc", ["preset=tiny"])


def test_a_spec_shows_its_name_preset_and_parts():
    spec = load_spec("lip-flow-hmc", ["preset=tiny"])
    assert repr(spec) == (
        "Spec(name='lip-flow-hmc', preset='tiny', capture='dome', encoder='dam', driving='hmc', prior='flow', "
        f"flow='glow', decoder='dam', renderer='{spec.renderer.name}')"
    )
    shared = load_spec("dam-hmc-encoder", ["preset=tiny"])
    assert "encoder='same as driving'" in repr(shared) and "flow=" not in repr(shared)
