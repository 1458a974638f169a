"""Checks of captures."""

from __future__ import annotations

import numpy as np
import torch

from lipflow_core.interfaces import FrameRequest
from lipflow_core.records import FaceState, Frame, Keypoints, Views
from lipflow_core.testing.kit import Check, Subject


def _observations(subject: Subject) -> tuple[str, ...]:
    names = [
        name.split(".")[0] for name in subject.planned.outputs if name.split(".")[0] not in ("topology", "template")
    ]
    return tuple(dict.fromkeys(names))


def _load(subject: Subject, split: str = "train", count: int = 2) -> Frame:
    frames = subject.build().split(split)
    count = min(count, len(frames))
    cameras = np.tile(np.arange(min(2, len(frames.cameras))), (count, 1))
    return frames.load(FrameRequest(np.arange(count), _observations(subject), cameras))


def both_splits_have_frames(subject: Subject) -> None:
    capture = subject.build()
    splits = {name: capture.split(name) for name in ("train", "held-out")}
    for name, split in splits.items():
        assert len(split) > 0, f"split '{name}' is empty"
        assert len(split.segments) == len(split.numbers) == len(split)
        assert len(split.cameras) > 0
    train, held_out = ({*zip(s.segments, np.asarray(s.numbers).tolist(), strict=True)} for s in splits.values())
    assert not train & held_out, "the splits share frames"


def unknown_splits_are_refused(subject: Subject) -> None:
    from lipflow_core.errors import CaptureError

    try:
        subject.build().split("no-such-split")
    except CaptureError:
        return
    raise AssertionError("a split that does not exist is no CaptureError")


def plan_agrees_with_reality(subject: Subject) -> None:
    planned, frame = subject.planned, _load(subject)
    for name, shape in planned.outputs.items():
        observation, tensor = name.split(".")
        if observation in ("topology", "template") or observation == "dome":
            continue
        got = tuple(getattr(frame[observation], tensor).shape[1:])
        assert got == tuple(shape), f"{name} has shape {got}, the plan says {tuple(shape)}"


def frames_are_sound(subject: Subject) -> None:
    frame = _load(subject)
    for name, record in frame.observations.items():
        match record:
            case FaceState():
                tensors = {"vertices": record.vertices, "texture": record.texture}
                assert record.texture.min() >= 0 and record.texture.max() <= 1
            case Views():
                tensors = {"images": record.images, "mask": record.mask, "extrinsics": record.camera.extrinsics}
                assert record.images.min() >= 0 and record.images.max() <= 1, f"{name} images leave [0, 1]"
                assert record.images.std() > 0.01, f"{name} images are blank"
                rotation = record.camera.extrinsics[..., :3].double()
                unit = torch.eye(3, dtype=torch.float64).expand_as(rotation)
                torch.testing.assert_close(rotation @ rotation.mT, unit, rtol=0, atol=1e-4)
                assert (rotation.det() > 0).all(), f"{name} cameras mirror"
            case Keypoints():
                tensors = {"points": record.points, "visible": record.visible}
            case _:
                continue
        for tensor_name, tensor in tensors.items():
            assert tensor.dtype == torch.float32, f"{name}.{tensor_name} is {tensor.dtype}"
            assert torch.isfinite(tensor).all(), f"{name}.{tensor_name} is not finite"


def loading_is_repeatable(subject: Subject) -> None:
    one, other = _load(subject), _load(subject)
    for name in one.observations:
        for first, second in zip(_tensors(one[name]), _tensors(other[name]), strict=True):
            assert torch.equal(first, second), f"{name} differs between two loads"


def order_is_as_asked(subject: Subject) -> None:
    split = subject.build().split("train")
    camera = np.zeros((2, 1), dtype=np.int64)
    forward = split.load(FrameRequest(np.array([0, 1]), ("face",), camera))
    backward = split.load(FrameRequest(np.array([1, 0]), ("face",), camera))
    assert torch.equal(forward["face"].vertices, backward["face"].vertices.flip(0))
    assert forward.segments == backward.segments[::-1]


def template_fits_the_frames(subject: Subject) -> None:
    template, face = subject.build().template(), _load(subject)["face"]
    standardised = template.standardize(face)
    assert standardised.vertices.abs().mean() < 5 and standardised.texture.abs().mean() < 5
    assert int(template.topology.triangles.max()) < face.vertices.shape[1]
    assert int(template.topology.uv_triangles.max()) < template.topology.uv.shape[0]
    assert template.topology.uv.min() >= 0 and template.topology.uv.max() <= 1


def identity_is_stable(subject: Subject) -> None:
    assert subject.build().identity == subject.build().identity != ""


def _tensors(record: object) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    record.apply(lambda tensor: found.append(tensor) or tensor)
    return found


CHECKS = [
    Check("both splits have frames and share none", both_splits_have_frames),
    Check("unknown splits are refused", unknown_splits_are_refused),
    Check("plan agrees with reality", plan_agrees_with_reality),
    Check("frames are sound", frames_are_sound),
    Check("loading is repeatable", loading_is_repeatable),
    Check("frames come in the order asked for", order_is_as_asked),
    Check("the template fits the frames", template_fits_the_frames),
    Check("the identity is stable", identity_is_stable),
]
