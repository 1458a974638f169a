"""Checks captures: their plan, splits, frames and template."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import FrameRequest, Split
from lipflow_core.records import FaceState, Frame, Keypoints, Views
from lipflow_core.testing.subject import Check, Subject, refused


def _load(subject: Subject, indices: Sequence[int] = (0, 1), cameras: int = 2) -> Frame:
    """Load frames of the training split with all observations."""
    split = subject.build().split("train")
    chosen = np.tile(np.arange(min(cameras, len(split.cameras))), (len(indices), 1))
    return split.load(FrameRequest(np.array(indices), tuple(subject.planned.observations), chosen))


def roles_are_filled(subject: Subject) -> None:
    roles = subject.planned.roles
    assert roles is not None, "its plan has no roles"
    frame = _load(subject)
    for role, kind in (("surface", FaceState), ("training_views", Views), ("scored_view", Views)):
        name = getattr(roles, role)
        assert name in frame.observations, f"the {role} of its plan's roles is '{name}', which it does not offer"
        made = type(frame[name]).__name__
        assert isinstance(frame[name], kind), f"its {role}, '{name}', must be a {kind.__name__}, it is a {made}"
    assert frame[roles.surface].texture is not None, f"its surface, '{roles.surface}', has no texture"


def both_splits_have_frames(subject: Subject) -> None:
    capture, found = subject.build(), []
    for name in ("train", "held-out"):
        split: Split = capture.split(name)
        lengths = {len(split), len(split.segments), len(split.numbers)}
        assert len(lengths) == 1, f"split '{name}' has {len(split.segments)} segments, {len(split.numbers)} numbers"
        assert len(split) > 0, f"split '{name}' is empty"
        assert len(split.cameras) > 0, f"split '{name}' has no cameras"
        found.append({*zip(split.segments, np.asarray(split.numbers).tolist(), strict=True)})
    assert not found[0] & found[1], f"the splits share {len(found[0] & found[1])} frames"


def unknown_splits_are_refused(subject: Subject) -> None:
    with refused(CaptureError, "asking for a split that does not exist raises no CaptureError"):
        subject.build().split("no-such-split")


def plan_agrees_with_reality(subject: Subject) -> None:
    planned, template = subject.planned, subject.build().template()
    frame = _load(subject, (0,), cameras=2**31)
    got = {
        "topology.triangles": tuple(template.topology.triangles.shape),
        "template.landmarks": tuple(template.landmarks.shape),
        **{f"template.regions.{name}": tuple(region.shape) for name, region in template.regions.items()},
    }
    for name, record in frame.observations.items():
        got |= {f"{name}.{tensor}": tuple(value.shape[1:]) for tensor, value in record.tensors()}
    for name, shape in planned.outputs.items():
        assert name in got, f"its plan has '{name}', its frames have not"
        assert got[name] == tuple(shape), f"{name} has shape {got[name]}, its plan says {tuple(shape)}"


def frames_are_sound(subject: Subject) -> None:
    for name, record in _load(subject).observations.items():
        for label, tensor in record.tensors():
            if tensor.is_floating_point():
                assert tensor.dtype == torch.float32, f"{name}.{label} is {tensor.dtype}, not float32"
                assert torch.isfinite(tensor).all(), f"{name}.{label} is not finite"
        match record:
            case FaceState(texture=torch.Tensor() as shares):
                _in_unit_interval(f"{name}.texture", shares)
            case Keypoints(visible=shares):
                _in_unit_interval(f"{name}.visible", shares)
            case Views(images=images, camera=camera, mask=mask):
                _in_unit_interval(f"{name}.images", images)
                _in_unit_interval(f"{name}.mask", mask)
                assert images.std() > 0.01, f"the pictures of '{name}' are blank"
                rotation = camera.extrinsics[..., :3].double()
                off = float((rotation @ rotation.mT - torch.eye(3, dtype=torch.float64)).abs().max())
                assert off < 1e-4, f"the extrinsics of '{name}' are no rotations: R Rᵀ is off the identity by {off:.2g}"
                assert (rotation.det() > 0).all(), f"the cameras of '{name}' mirror: det R = −1"


def _in_unit_interval(name: str, tensor: torch.Tensor) -> None:
    low, high = float(tensor.min()), float(tensor.max())
    assert low >= 0 and high <= 1, f"{name} must lie in [0, 1], it runs from {low:.3g} to {high:.3g}"


def loading_is_repeatable(subject: Subject) -> None:
    one, other = _load(subject), _load(subject)
    for (name, first), (_, second) in zip(one.tensors(), other.tensors(), strict=True):
        assert torch.equal(first, second), f"{name} differs between two loads of the same frames"


def order_is_as_asked(subject: Subject) -> None:
    forward, backward = _load(subject, (0, 1)), _load(subject, (1, 0))
    for (name, first), (_, second) in zip(forward.tensors(), backward.tensors(), strict=True):
        assert torch.equal(first, second.flip(0)), f"{name} of frames 1 and 0 is not that of 0 and 1 turned round"
    assert forward.segments == backward.segments[::-1], "the segments do not follow the order that is asked for"


def template_fits_the_frames(subject: Subject) -> None:
    template, roles = subject.build().template(), subject.planned.roles
    assert roles is not None, "its plan has no roles"
    surface = _load(subject)[roles.surface]
    standardised, topology = template.standardize(surface), template.topology
    for name, value in (("vertices", standardised.vertices), ("texture", standardised.texture)):
        mean = float(value.abs().mean())
        assert mean < 5, f"{name} are {mean:.1f} of the template's standard deviations off its mean"
    corners, count = int(topology.triangles.max()), surface.vertices.shape[1]
    assert corners < count, f"the template's triangles name vertex {corners}, but there are {count} vertices"
    corners, count = int(topology.uv_triangles.max()), topology.uv.shape[0]
    assert corners < count, f"the template's uv_triangles name {corners}, but there are {count} uv coordinates"
    _in_unit_interval("the template's uv", topology.uv)
    for name, region in template.regions.items():
        _in_unit_interval(f"the template's region '{name}'", region)


def identity_is_stable(subject: Subject) -> None:
    one, other = subject.build().identity, subject.build().identity
    assert one, "its identity is empty"
    assert one == other, f"its identity differs between two builds: {one}, {other}"


CHECKS = [
    Check("its roles are filled", roles_are_filled),
    Check("both splits have frames and share none", both_splits_have_frames),
    Check("unknown splits are refused", unknown_splits_are_refused),
    Check("plan agrees with reality", plan_agrees_with_reality),
    Check("frames are sound", frames_are_sound),
    Check("loading is repeatable", loading_is_repeatable),
    Check("frames come in the order asked for", order_is_as_asked),
    Check("the template fits the frames", template_fits_the_frames),
    Check("the identity is stable", identity_is_stable),
]
