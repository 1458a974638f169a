"""The rigid pose of the driving cameras: its six parameters, its random perturbation, and its error."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lipflow_core.specs.model import Perturbation


def rigid(parameters: Tensor, translation_scale: float) -> Tensor:
    """Make rigid transforms, elements of SE(3), from their parameters.

    Args:
        parameters: (B, 6) rotation vector in radians about the head's origin, then the translation in units of
            `translation_scale`; zeros are the identity.
        translation_scale: Millimetres per unit, so that one learning rate suits rotation and translation.

    Returns:
        (B, 3, 4) [R|t] in millimetres, for `Camera.moved`.
    """
    import roma  # brings torch's compiler in, two seconds that only fits of a pose need to wait

    rotation = roma.rotvec_to_rotmat(parameters[:, :3])
    translation = parameters[:, 3:, None] * translation_scale
    return torch.cat([rotation, translation], dim=-1)


def perturbations(segments: Sequence[str], numbers: Sequence[int], options: Perturbation) -> Tensor:
    """Draw the random displacement of each frame's driving cameras.

    A displacement depends on the seed, the segment and, unless it is held for the whole segment, the frame's number
    alone: never on the batch.

    Args:
        segments: B names of segments.
        numbers: (B,) frame numbers.
        options: Size of the displacements, seed, and how long each is held.

    Returns:
        (B, 3, 4) float64 [R|t] in millimetres, for `Camera.moved`: a rotation by `degrees` about a random axis through
        the head's origin, then a translation by `millimetres` in a random direction.
    """
    made = np.empty((len(segments), 3, 4))
    for row, (segment, number) in enumerate(zip(segments, numbers, strict=True)):
        frame = [1, int(number)] if options.hold == "frame" else [0]
        generator = np.random.default_rng([options.seed, zlib.crc32(segment.encode()), *frame])
        axis, direction = (vector / np.linalg.norm(vector) for vector in generator.normal(size=(2, 3)))
        made[row, :, :3] = _rotation(axis, np.radians(options.degrees))
        made[row, :, 3] = options.millimetres * direction
    return torch.from_numpy(made)


def composed(outer: Tensor, inner: Tensor) -> Tensor:
    """Compose rigid transforms (B, 3, 4): `inner` is applied to points first."""
    rotation = outer[..., :3] @ inner[..., :3]
    translation = outer[..., :3] @ inner[..., 3:] + outer[..., 3:]
    return torch.cat([rotation, translation], dim=-1)


def pose_errors(residual: Tensor) -> tuple[Tensor, Tensor]:
    """Measure rigid displacements (B, 3, 4): angle of rotation in degrees, and of the head's origin in millimetres."""
    # By half the angle: the arc cosine of a trace loses small angles to rounding.
    rotation = residual[..., :3]
    half = (rotation - torch.eye(3).to(rotation)).flatten(-2).norm(dim=-1) / 8**0.5
    angle = 2 * torch.asin(half.clamp(max=1))
    return angle.rad2deg(), residual[..., 3].norm(dim=-1)


def _rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' formula: the rotation (3, 3) by an angle about a unit axis."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
