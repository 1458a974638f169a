"""A loss of one's own is one small plugin, a term of training and of fitting alike."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from lipflow_dome.head import load_asset
from pydantic import TypeAdapter

import lipflow_core
from lipflow_core.avatar import Avatar
from lipflow_core.fitting import fit
from lipflow_core.interfaces import State
from lipflow_core.parts import ObjectiveSlot
from lipflow_core.plans import CaptureInputs, ObjectiveInputs
from lipflow_core.records import FaceState, Frame
from lipflow_core.splits import load_frames
from lipflow_core.testing import Subject, checks

MOUTH = {"type": "mouth-photometric", "target": "frontal"}
TERMS = "[{type: photometric, weight: 10}, geometry, {type: mouth-photometric, weight: 5}]"


@pytest.mark.parametrize("check", checks("objective"), ids=str)
def test_conformance(check):
    check(Subject.of("objective", "mouth-photometric"))


@pytest.fixture(scope="module")
def spec(downstream_registry) -> lipflow_core.Spec:
    """DAM on the smallest dome, trained and fitted with the mouth's loss among its terms."""
    overrides = [
        "preset=tiny",
        "device=cpu",
        "training.threads=1",
        "capture.sequences=2",
        "capture.held_out_sequences=1",
        "training.stages.0.steps=4",
        f"training.stages.0.objectives={TERMS}",
        "fitting.objectives=[{type: mouth-photometric, target: headset, weight: 5}]",
    ]
    return lipflow_core.load_spec("dam", overrides)


@pytest.fixture(scope="module")
def capture(spec):
    """The dome."""
    return spec.capture.build(CaptureInputs())


@pytest.fixture(scope="module")
def run(spec, capture, tmp_path_factory):
    """A short run."""
    return lipflow_core.train(spec, tmp_path_factory.mktemp("runs") / "run", capture=capture)


def frames(capture, *observations: str) -> Frame:
    """Two held-out frames."""
    return load_frames(capture.split("held-out"), np.arange(2), observations)


def test_training_weighs_it_among_the_other_terms(run):
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["kind"] == "train"]
    assert len(rows) == 4
    for row in rows:
        assert row["weight_mouth-photometric"] == 5
        total = 10 * row["photometric"] + row["geometry"] + 5 * row["mouth-photometric"]
        assert row["loss"] == pytest.approx(total, rel=1e-5)


def test_fitting_minimises_it_on_the_pictures_that_it_names(run, spec, capture):
    result = fit(run.avatar, frames(capture, "headset"), spec.fitting)
    assert list(result.curves) == ["mouth-photometric", "total"]
    assert (result.losses < result.curves["total"][:, 0]).all()


def test_an_error_at_the_mouth_costs_more_than_the_same_at_the_forehead(run, capture):
    anchors = load_asset().anchors
    at_mouth, at_forehead = (
        loss_of_an_error_at(run.avatar, capture, anchors[name]) for name in ("mouth_left", "nasion")
    )
    assert (at_mouth > 5 * at_forehead).all()


def loss_of_an_error_at(avatar: Avatar, capture, vertex: int) -> torch.Tensor:
    """The loss of drawings that are right but for 3×3 pixels around a vertex, (B,)."""
    frame = frames(capture, "face", "frontal")
    face, seen = frame["face"], frame["frontal"]
    drawn = avatar.render(FaceState(face.vertices, face.texture[:, None]), seen.camera)
    points, _ = seen.camera.project(face.vertices[:, None, [vertex]])
    image = seen.images[:, 0].clone()
    for picture, (x, y) in zip(image, points[:, 0, 0].round().long().tolist(), strict=True):
        picture[:, y - 1 : y + 2, x - 1 : x + 2] += 0.2
    part = TypeAdapter(ObjectiveSlot).validate_python(MOUTH)
    given = ObjectiveInputs(
        code=1,
        observations={"frontal": {"images": tuple(seen.images.shape[1:])}},
        roles=avatar.roles,
    )
    state = State(
        code=torch.zeros(len(frame), 1),
        template=avatar.template,
        renderings={"frontal": replace(drawn, image=image)},
    )
    return part.build(given)(state, frame)
