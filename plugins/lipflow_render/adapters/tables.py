"""What adapters make of a topology once and keep, and the picture in which there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lipflow_core.records import Camera, Rendering, Topology


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
    """Makes tables, and keeps those of the topology last seen.

    Args:
        convert_uv: (U, 2) uv → the package's convention.
        extra: int32 triangles → `Tables.extra`.
    """

    def __init__(self, convert_uv: Callable[[Tensor], Tensor], extra: Callable[[Tensor], Any] = lambda triangles: None):
        self._convert_uv = convert_uv
        self._extra = extra
        self._kept: tuple[Topology, tuple[int, ...], Tables] | None = None

    def of(self, topology: Topology) -> Tables:
        """The tables of a topology.

        The packages read memory where indices point to, so these are checked here, once.

        Raises:
            ValueError: If indices or uv are out of range.
        """
        parts = (topology.triangles, topology.uv, topology.uv_triangles)
        versions = tuple(0 if part.is_inference() else part._version for part in parts)
        if self._kept is not None:
            kept, kept_versions, tables = self._kept
            same = all(one is other for one, other in zip(parts, _parts(kept), strict=True))
            if same and versions == kept_versions:
                return tables
        tables = self._make(*parts)
        self._kept = (topology, versions, tables)
        return tables

    def _make(self, triangles: Tensor, uv: Tensor, uv_triangles: Tensor) -> Tables:
        if triangles.shape != uv_triangles.shape:
            raise ValueError(f"topology has {len(triangles)} triangles but {len(uv_triangles)} uv triangles")
        for name, index, limit in (("triangles", triangles, 2**28), ("uv_triangles", uv_triangles, len(uv))):
            if index.numel() and (index.min() < 0 or index.max() >= limit):
                raise ValueError(f"topology.{name} has indices outside 0 … {limit - 1}")
        if not uv.isfinite().all():
            raise ValueError("topology.uv holds NaN or infinity")
        small = triangles.to(torch.int32).contiguous()
        return Tables(
            triangles=small,
            uv=self._convert_uv(uv).contiguous(),
            uv_triangles=uv_triangles.to(torch.int32).contiguous(),
            vertices=int(triangles.max()) + 1 if triangles.numel() else 0,
            extra=self._extra(small) if triangles.numel() else None,
        )


def _parts(topology: Topology) -> tuple[Tensor, Tensor, Tensor]:
    return topology.triangles, topology.uv, topology.uv_triangles


def check_vertices(vertices: Tensor, tables: Tables) -> None:
    """Raise a ValueError if triangles use vertices that are not given."""
    if vertices.shape[1] < tables.vertices:
        raise ValueError(
            f"the topology's triangles use vertex {tables.vertices - 1}, but only {vertices.shape[1]} are given"
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
