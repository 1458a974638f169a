"""What adapters make of a topology once and keep, and the picture in which there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipflow_core.records import Camera, Rendering, Topology
from lipflow_render.topology import Kept, check_vertices, vertices_used


@dataclass(frozen=True)
class Tables:
    """A topology as the packages take it.

    Args:
        triangles: (F, 3) int32.
        uv: (U, 2) in the package's convention.
        uv_triangles: (F, 3) int32.
        vertices: One more than the highest vertex index.
        extra: What else the package wants to be made once per topology.
    """

    triangles: Tensor
    uv: Tensor
    uv_triangles: Tensor
    vertices: int
    extra: Any


class KeptTables:
    """Makes tables, and keeps those of the topologies last seen.

    Args:
        convert_uv: (U, 2) uv → the package's convention.
        extra: int32 triangles → `Tables.extra`.
    """

    def __init__(self, convert_uv: Callable[[Tensor], Tensor], extra: Callable[[Tensor], Any] = lambda triangles: None):
        self._convert_uv = convert_uv
        self._extra = extra
        self._kept = Kept(self._make)

    def of(self, topology: Topology, vertices: Tensor) -> Tables:
        """The tables of a topology on the device of the vertices.

        Raises:
            ValueError: If indices or uv are out of range, or if it needs more vertices than there are.
        """
        tables = self._kept.of(topology.triangles, topology.uv, topology.uv_triangles, vertices.device)
        check_vertices(vertices, tables.vertices)
        return tables

    def _make(self, triangles: np.ndarray, uv: np.ndarray, uv_triangles: np.ndarray, device: torch.device) -> Tables:
        small = torch.from_numpy(triangles.astype(np.int32)).to(device)
        return Tables(
            triangles=small,
            uv=self._convert_uv(torch.from_numpy(uv)).contiguous().to(device),
            uv_triangles=torch.from_numpy(uv_triangles.astype(np.int32)).to(device),
            vertices=vertices_used(triangles),
            extra=self._extra(small) if triangles.size else None,
        )


def backdrop(texture: Tensor, camera: Camera, background: Tensor | None) -> Tensor:
    """(B or 1, C, H, W) what is seen where nothing is hit."""
    if background is None:
        return texture.new_zeros((1, texture.shape[1], camera.height, camera.width))
    return background.to(texture.dtype)


def nothing_hit(batch: int, behind: Tensor) -> Rendering:
    """The rendering of an empty mesh, or of no samples, before what is behind it."""
    height, width = behind.shape[-2:]
    empty = behind.new_zeros((batch, height, width))
    return Rendering(
        image=behind.expand(batch, -1, -1, -1).clone(),
        coverage=empty,
        depth=empty.clone(),
        triangle=torch.full_like(empty, -1, dtype=torch.int64),
        barycentric=behind.new_zeros((batch, 3, height, width)),
    )
