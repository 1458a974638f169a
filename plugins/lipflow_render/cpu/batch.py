"""What drawing pictures leaves for their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lipflow_render.cpu import geometry


class Drawn(NamedTuple):
    """What drawing leaves for the gradients; see `geometry.set_up`.

    Args:
        found: (B, H, W) int32, the triangle at each pixel, -1 for none.
        screen: (B, V, 4).
        planes: (B, F, PLANE).
        facing: (B, F) int8.
    """

    found: Tensor
    screen: Tensor
    planes: Tensor
    facing: Tensor

    @classmethod
    def empty(
        cls, make: Callable[[tuple[int, ...], torch.dtype], Tensor], vertices: Tensor, triangles: int, height: int,
        width: int,
    ) -> Drawn:  # fmt: skip
        """For vertices (B, V, 3), with nothing in it yet; `make` makes a tensor of a shape and type."""
        batch, count, _ = vertices.shape
        return cls(
            found=make((batch, height, width), torch.int32),
            screen=make((batch, count, 4), vertices.dtype),
            planes=make((batch, triangles, geometry.PLANE), vertices.dtype),
            facing=make((batch, triangles), torch.int8),
        )


def array(tensor: Tensor) -> np.ndarray:
    """A contiguous tensor's memory."""
    return tensor.detach().contiguous().numpy()
