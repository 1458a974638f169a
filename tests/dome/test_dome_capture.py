"""The dome as a capture: what it promises to whoever trains on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lipflow_dome.config import LANDMARKS, TRIANGLES, UNITS, VERTICES, DomeConfig
from lipflow_dome.head import load_asset

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import FrameRequest
from lipflow_core.plans import CaptureInputs, Mismatch
from lipflow_core.records import Record

EVERYTHING = ("face", "dome", "frontal", "headset", "keypoints", "truth")


def load(capture, split="train", frames=None, observations=EVERYTHING):
    frames = np.arange(len(capture.split(split))) if frames is None else np.array(frames)
    cameras = np.tile(np.arange(capture.config.cameras), (len(frames), 1))
    return capture.split(split).load(FrameRequest(frames, observations, cameras))


def tensors(record: Record):
    found = []
    record.apply(lambda tensor: found.append(tensor) or tensor)
    return found


def test_facts_of_the_asset_stand_in_the_config():
    asset = load_asset()
    assert (len(asset.vertices), len(asset.triangles), len(asset.expression_names)) == (VERTICES, TRIANGLES, UNITS)


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_plan_agrees_with_frames(capture, split):
    frame = load(capture, split)
    for name, shape in capture.planned.outputs.items():
        owner, tensor = name.split(".", 1)
        if owner in EVERYTHING:
            assert tuple(getattr(frame[owner], tensor).shape) == (len(frame), *shape), name


def test_plan_agrees_with_template(capture):
    template = capture.template()
    assert tuple(template.topology.triangles.shape) == capture.planned.outputs["topology.triangles"]
    assert tuple(template.landmarks.shape) == capture.planned.outputs["template.landmarks"] == (LANDMARKS,)
    assert tuple(template.texture_mean.shape) == capture.planned.outputs["face.texture"]
    assert tuple(template.vertices_mean.shape) == capture.planned.outputs["face.vertices"]


def test_template_standardises_the_frames_of_its_capture(capture):
    standard = capture.template().standardize(load(capture, observations=("face",))["face"])
    assert abs(standard.vertices.mean()) < 0.05
    assert standard.vertices.std() == pytest.approx(1, abs=0.05)
    assert standard.texture.std() == pytest.approx(1, abs=0.2)


def test_everything_is_finite_and_pictures_lie_in_range(capture):
    frame = load(capture)
    for name in EVERYTHING:
        assert all(torch.isfinite(tensor).all() for tensor in tensors(frame[name])), name
    for name in ("dome", "frontal", "headset"):
        assert frame[name].images.min() >= 0 and frame[name].images.max() <= 1
        assert frame[name].images.std() > 0.05


def test_held_out_segments_are_none_of_training(capture):
    train, held_out = set(capture.split("train").segments), set(capture.split("held-out").segments)
    assert not train & held_out
    assert all(name.startswith(("EXP_ROM", "EXP_free_face")) for name in held_out)
    assert not any(name.startswith(("EXP_ROM", "EXP_free_face")) for name in train)


def test_camera_zero_is_the_frontal_one(capture):
    split, frame = capture.split("train"), load(capture, frames=[0, 5])
    assert split.cameras[0] == "frontal"
    assert torch.equal(frame["dome"].images[:, :1], frame["frontal"].images)
    assert torch.equal(frame["dome"].camera.extrinsics[:, :1], frame["frontal"].camera.extrinsics)
    assert (frame["frontal"].camera.view_direction[..., 2] > 0.95).all()


def test_asks_for_cameras_in_any_order(capture):
    split = capture.split("train")
    every = load(capture, frames=[3, 1])["dome"]
    some = split.load(FrameRequest(np.array([3, 1]), ("dome",), np.array([[2, 0], [1, 1]])))["dome"]
    assert torch.equal(some.images[0], every.images[0, [2, 0]])
    assert torch.equal(some.images[1], every.images[1, [1, 1]])
    assert torch.equal(some.camera.extrinsics[0], every.camera.extrinsics[0, [2, 0]])


def test_no_batch_is_too_small(capture):
    assert len(load(capture, frames=np.zeros(0, np.int64))) == 0
    assert len(load(capture, frames=[0])) == 1


@pytest.mark.parametrize("subject", ["p01", "p05_african_male"])
def test_subjects_by_short_and_full_id(subject):
    assert DomeConfig(subject=subject).subject.startswith(subject)


def test_unknown_subject_names_those_there_are():
    with pytest.raises(ValueError, match="p08_mixed_female_middle"):
        DomeConfig(subject="p09")


def test_own_identity_changes_the_shape(make_capture):
    base = make_capture().film.head.neutral
    wide = make_capture(identity={"macro/asian-female-young": 1.0, "nose/nose-scale-horiz-incr": 0.4}).film.head.neutral
    stranger = make_capture(identity=7).film.head.neutral
    assert np.abs(base - wide).max() > 3 and np.abs(base - stranger).max() > 3
    assert np.array_equal(stranger, make_capture(identity=7).film.head.neutral)


def test_unknown_identity_mode_is_named(make_capture):
    with pytest.raises(CaptureError, match="nose/longer"):
        make_capture(identity={"nose/longer": 1.0}).template()


def test_identity_follows_content_alone(make_capture, tmp_path):
    here = make_capture()
    assert here.identity == make_capture(cache=tmp_path, workers=2).identity
    others = [make_capture(seed=1), make_capture(subject="p02"), make_capture(texture=48), make_capture(head_motion=0)]
    assert len({here.identity, *(other.identity for other in others)}) == 5


def test_renderer_that_cannot_draw_here_is_refused_by_the_plan():
    class CudaOnly:
        def plan(self, given):
            raise Mismatch(f"renderer 'warp' does not run on '{given.device}'")

    config = DomeConfig().model_copy(update={"renderer": CudaOnly()})
    with pytest.raises(Mismatch, match="warp"):
        config.plan(CaptureInputs())


def test_unknown_split_and_observation(capture):
    with pytest.raises(CaptureError, match="held-out"):
        capture.split("test")
    with pytest.raises(CaptureError, match="keypoints"):
        capture.split("train").load(FrameRequest(np.arange(1), ("audio",)))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (FrameRequest(np.array([24]), ("face",)), "frames are numbered 0 to 23; the request names 24"),
        (FrameRequest(np.array([-1]), ("face",)), "the request names -1"),
        (FrameRequest(np.array([0]), ("dome",), np.array([[3]])), "cameras are numbered 0 to 2; the request names 3"),
    ],
)
def test_a_request_for_what_is_not_there_says_what_is(request_, words, capture):
    with pytest.raises(CaptureError, match=words):
        capture.split("train").load(request_)
