"""Parametrises the rigid pose of the driving cameras by six numbers."""

from __future__ import annotations

import torch
from torch import Tensor


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
