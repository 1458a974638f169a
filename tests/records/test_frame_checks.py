"""What a frame's observations promise is checked at the door of `fit`, and a wrong one is told with its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from lipflow_sample.sampling import sample

import lipflow_core
from lipflow_core.errors import CaptureError, SpecError
from lipflow_core.records import Camera, FaceState, Frame, Keypoints, Views
from lipflow_core.splits import load_frames, open_capture
from lipflow_core.testing import inputs


@pytest.fixture(scope="module")
def opened():
    """An untrained model of preset tiny and two frames of its capture."""
    spec = lipflow_core.load_spec("lip-flow-hmc", ["preset=tiny", "fitting.steps=1"])
    avatar = lipflow_core.assemble(spec).eval()
    with torch.no_grad():
        avatar.prior.initialize(torch.randn(64, spec.code), avatar.drive(_frame(spec, range(64))))
    return avatar, spec, _frame(spec, (0, 1))


def _frame(spec, indices) -> Frame:
    from lipflow_core.assembly import usable_devices
    from lipflow_core.planning import plan

    capture = open_capture(plan(spec, devices=usable_devices()))
    split = capture.split("train")
    return load_frames(split, np.arange(len(split))[np.asarray(indices) % len(split)], ("headset", "frontal"))


def with_headset(frame: Frame, **changes) -> Frame:
    """The frame with other tensors in its headset pictures."""
    return replace(frame, observations={**frame.observations, "headset": replace(frame["headset"], **changes)})


def last(tensor: torch.Tensor, value: float) -> torch.Tensor:
    """A copy with one value of the last sample changed."""
    changed = tensor.clone()
    changed[-1].view(-1)[-1] = value
    return changed


WRONG = {
    "pictures of 0 … 255": (
        lambda seen: {"images": seen.images * 255},
        r"segment \w+, frame \d+: Views.images of observation 'headset' holds .*expected values in \[0, 1\]",
        "Divide pictures of 8 bits by 255",
    ),
    "one value above": (
        lambda seen: {"images": last(seen.images, 1.25)},
        r"Views.images of observation 'headset' holds 1.25, expected values in \[0, 1\]",
        "clamp",
    ),
    "one value below": (
        lambda seen: {"images": last(seen.images, -0.5)},
        r"Views.images of observation 'headset' holds -0.5",
        "clamp",
    ),
    "a mask of 255": (
        lambda seen: {"mask": last(seen.mask, 255)},
        r"Views.mask of observation 'headset' holds 255, expected values in \[0, 1\]",
        "Divide",
    ),
    "NaN": (
        lambda seen: {"images": last(seen.images, torch.nan)},
        r"Views.images of observation 'headset' holds NaN or infinity",
        "Repair this frame",
    ),
    "infinity in a camera": (
        lambda seen: {"camera": replace(seen.camera, extrinsics=last(seen.camera.extrinsics, torch.inf))},
        r"Views.camera.extrinsics of observation 'headset' holds NaN or infinity",
        "Repair this frame",
    ),
    "bytes": (
        lambda seen: {"images": (seen.images * 255).to(torch.uint8)},
        r"Views.images of observation 'headset' has dtype torch.uint8, expected a floating-point one",
        r"images.float\(\) / 255",
    ),
    "a mask of booleans": (
        lambda seen: {"mask": seen.mask > 0},
        r"Views.mask of observation 'headset' has dtype torch.bool",
        r"\.float\(\)",
    ),
    "no axis of views": (
        lambda seen: {"images": seen.images[:, 0]},
        r"Views.images of observation 'headset' has shape \(2, .*expected \(B, N, C, H, W\)",
        "must agree in their sizes",
    ),
    "a mask of another size": (
        lambda seen: {"mask": seen.mask[..., :-1]},
        r"Views.mask of observation 'headset' has shape .*expected \(B, N, H, W\) with B = 2, H = \d+, W = \d+",
        "must agree in their sizes",
    ),
    "pictures of another size than the camera's": (
        lambda seen: {"camera": replace(seen.camera, width=seen.camera.width + 1)},
        r"Views.images of observation 'headset' has shape .*W = \d+",
        "must agree in their sizes",
    ),
    "fewer cameras than pictures": (
        lambda seen: {"camera": seen.camera.apply(lambda tensor: tensor[:, :1])},
        r"Views.camera.intrinsics of observation 'headset' has shape \(2, 1, 3, 3\)",
        "must agree in their sizes",
    ),
    "fewer samples than frames": (
        lambda seen: {"mask": seen.mask[:1]},
        r"Views.mask of observation 'headset' has shape \(1, .*with B = 2",
        "must agree in their sizes",
    ),
}


@pytest.mark.parametrize(("change", "message", "cure"), WRONG.values(), ids=WRONG)
def test_a_fit_refuses_what_a_record_does_not_promise(change, message, cure, opened):
    avatar, spec, frame = opened
    with pytest.raises(CaptureError, match=message) as caught:
        lipflow_core.fit(avatar, with_headset(frame, **change(frame["headset"])), spec.fitting)
    assert caught.match(cure)


def test_samples_are_not_driven_by_what_a_record_does_not_promise(opened):
    avatar, _, frame = opened
    wrong = with_headset(frame, images=frame["headset"].images * 255)
    camera = frame["frontal"].camera.rows(torch.tensor([0]))
    with pytest.raises(CaptureError, match="of observation 'headset' holds"):
        sample(avatar, 2, camera, driving=wrong.rows(torch.tensor([0])))


def test_values_beyond_the_range_by_rounding_are_taken(opened):
    avatar, spec, frame = opened
    result = lipflow_core.fit(avatar, with_headset(frame, images=last(frame["headset"].images, 1.0005)), spec.fitting)
    assert result.fitted.all()


def test_pictures_in_double_precision_are_fitted_in_the_models(opened):
    avatar, spec, frame = opened
    result = lipflow_core.fit(avatar, frame.apply(lambda t: t.double() if t.is_floating_point() else t), spec.fitting)
    assert result.fitted.all() and result.codes.dtype == torch.float32


def test_what_no_objective_and_no_start_needs_need_not_be_there(opened):
    avatar, spec, frame = opened
    seen = Frame(frame.segments, frame.numbers, {"frontal": frame["frontal"]})
    objectives = ({"type": "photometric", "target": "frontal"},)
    alone = type(spec.fitting).model_validate({"objectives": objectives, "start": "zero", "steps": 1})
    assert lipflow_core.fit(avatar, seen, alone).fitted.all()
    with pytest.raises(SpecError, match="fitting needs the observation 'headset', but the frames have frontal"):
        lipflow_core.fit(avatar, seen, alone.model_copy(update={"start": "prior"}))


def test_what_no_objective_needs_is_not_checked(opened):
    avatar, spec, frame = opened
    spoiled = replace(frame["frontal"], images=frame["frontal"].images * 255)
    seen = replace(frame, observations={"headset": frame["headset"], "frontal": spoiled})
    assert lipflow_core.fit(avatar, seen, spec.fitting).fitted.all()


def test_an_observation_that_is_no_record_is_named(opened):
    avatar, spec, frame = opened
    with pytest.raises(CaptureError, match=r"observation 'headset' is torch.Tensor.*not a record"):
        lipflow_core.fit(avatar, replace(frame, observations={"headset": frame["headset"].images}), spec.fitting)


def test_a_frame_has_a_number_for_each_segment(opened):
    avatar, spec, frame = opened
    with pytest.raises(CaptureError, match=r"2 segments, but numbers of shape \(1,\)"):
        lipflow_core.fit(avatar, replace(frame, numbers=frame.numbers[:1]), spec.fitting)


ARRAYS = {
    "Views.images": lambda made: Views(made["headset"].images.numpy(), made["headset"].camera, made["headset"].mask),
    "Views.mask": lambda made: Views(made["headset"].images, made["headset"].camera, made["headset"].mask.numpy()),
    "Camera.intrinsics": lambda made: Camera(np.eye(3), torch.eye(3, 4), 4, 4),
    "FaceState.vertices": lambda made: FaceState(np.zeros((1, 3, 3))),
    "FaceState.texture": lambda made: FaceState(torch.zeros(1, 3, 3), np.zeros((1, 3, 2, 2))),
    "Keypoints.visible": lambda made: Keypoints(torch.zeros(1, 2, 2), np.ones((1, 2)), made["keypoints"].camera),
    "Frame.numbers": lambda made: Frame(("a",), np.arange(1), {}),
}


@pytest.mark.parametrize("field", ARRAYS)
def test_a_record_takes_no_numpy_array_for_a_tensor(field):
    with pytest.raises(TypeError, match=rf"{field} must be a torch tensor, got numpy.ndarray of .*torch.from_numpy"):
        ARRAYS[field](inputs.frame(1))


def test_every_tensor_of_a_captured_record_has_its_axes():
    for record in inputs.frame(1).observations.values():
        assert record.AXES.keys() == dict(record.tensors()).keys()
