"""The samples of a batch as the kernels take them, and what the forward pass saves for the backward passes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, repeat
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lipflow_render.cpu import geometry
from lipflow_render.cpu.cpu_topology import CpuTopology


class Saved(NamedTuple):
    """What drawing saves for the backward passes, for each sample; see `Scene`.

    Args:
        vertices: (B, V, 3), a copy: the user may change the original before a backward pass.
        found: (B, H, W) int32.
        screen: (B, V, 4).
        planes: (B, F, 16).
        facing: (B, F) int8.
    """

    vertices: Tensor
    found: Tensor
    screen: Tensor
    planes: Tensor
    facing: Tensor

    @classmethod
    def empty(
        cls, make: Callable[[tuple[int, ...], torch.dtype], Tensor], vertices: Tensor, triangles: int,
        size: tuple[int, int],
    ) -> Saved:  # fmt: skip
        """Allocate it for vertices (B, V, 3) and a picture of so many rows and columns.

        Args:
            make: Allocates a tensor of a shape and type.
            vertices: (B, V, 3).
            triangles: Number of triangles.
            size: Rows and columns of the picture.
        """
        batch, count, _ = vertices.shape
        return cls(
            vertices=make((batch, count, 3), vertices.dtype),
            found=make((batch, *size), torch.int32),
            screen=make((batch, count, 4), vertices.dtype),
            planes=make((batch, triangles, geometry.PLANE), vertices.dtype),
            facing=make((batch, triangles), torch.int8),
        )


class Batch:
    """B samples as the kernels take them.

    Args:
        saved: What drawing saves, of which kernels that draw write all but the vertices.
        projection: (B or 1, 3, 4) float64.
        near: Depth of the near plane in millimetres.
        topology: The mesh.
        texture: (B or 1, C, Ht, Wt); None for kernels that need none.

    Attributes:
        vertices: (B, V, 3).
        projections: (B or 1, 3, 4) float64.
        scenes: The fields of a `Scene` for each sample.
        textures: The fields of B `Texture`s, or of the one that all samples share.
    """

    def __init__(
        self,
        saved: Saved,
        projection: Tensor,
        near: float,
        topology: CpuTopology,
        texture: Tensor | None = None,
    ):
        self.vertices, found, screen, planes, facing = (tensor.numpy() for tensor in saved)
        self.projections = array(projection)
        shared = cycle(self.projections), repeat(near), repeat(topology.triangles)
        self.scenes = list(zip(self.vertices, *shared, screen, planes, facing, found, strict=False))
        self.textures: list[tuple] = []
        if texture is not None:
            _, channels, height, width = texture.shape
            self.textures = [(values, width, height, (0,) * channels) for values in array(texture.flatten(2))]

    def __len__(self) -> int:
        return len(self.scenes)

    @property
    def kind(self) -> np.dtype:
        """Precision of the pictures."""
        return self.vertices.dtype

    def texture(self, b: int) -> tuple:
        """The fields of a sample's `Texture`."""
        return self.textures[b % len(self.textures)]


def array(tensor: Tensor) -> np.ndarray:
    """A tensor's memory, or a contiguous copy of it."""
    return tensor.detach().contiguous().numpy()
