"""Topologies as the kernels take them, made once and kept."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lipflow_render.topology import Kept, check_vertices, neighbours, vertices_used, wind_alike

_CPU = torch.device("cpu")

MOST_SIZES = 8
"""Sizes of textures that a topology is kept for."""


@dataclass(frozen=True)
class PreparedTopology:
    """A topology as the kernels take it.

    Args:
        triangles: (F, 3) int32.
        adjacent: (F, 3) int32, the triangle across the edge opposite each corner, -1 for none.
        sheet: (F, 3) int32, the same where both triangles wind the same way, else -1.
        edges: (E, 5) int32, the vertices of each edge, the triangles on both sides, the second -1 for none, and 1 if
            both wind the same way, else -1.
        uv: (F, 3, 2) float64, u and v of each corner.
        vertices: One more than the highest vertex index.
    """

    triangles: np.ndarray
    adjacent: np.ndarray
    sheet: np.ndarray
    edges: np.ndarray
    uv: np.ndarray
    vertices: int
    _in_texels: dict[tuple, np.ndarray] = field(default_factory=dict, repr=False)

    def corners_in(self, texels: tuple[int, int], kind: np.dtype) -> np.ndarray:
        """(F, CORNER) of this type: see `geometry.CORNER`; `texels` are the texture's width and height."""
        made = self._in_texels.get((texels, kind))
        if made is None:
            place = np.stack([self.uv[..., 0], 1 - self.uv[..., 1]], axis=-1) * texels - 0.5
            within = place.clip(0, np.array(texels) - 1)
            ranges = np.stack([within.min(axis=1), within.max(axis=1)], axis=-1)
            made = np.concatenate([place.reshape(-1, 6), ranges.reshape(-1, 4)], axis=1).astype(kind)
            if len(self._in_texels) >= MOST_SIZES:
                self._in_texels.clear()
            self._in_texels[texels, kind] = made
        return made


def prepare(triangles: Tensor, uv: Tensor, uv_triangles: Tensor) -> PreparedTopology:
    """The topology of these tensors (see `Topology`), from the last call if they have not changed since.

    Raises:
        ValueError: Their shapes do not fit, indices are out of range, or uv is not finite.
    """
    return _kept.of(triangles, uv, uv_triangles, _CPU)


def fitting(vertices: Tensor, triangles: Tensor, uv: Tensor, uv_triangles: Tensor) -> PreparedTopology:
    """The same for these vertices (B, V, 3); raises ValueError if the topology has more."""
    prepared = prepare(triangles, uv, uv_triangles)
    check_vertices(vertices, prepared.vertices)
    return prepared


def _make(triangles: np.ndarray, uv: np.ndarray, uv_triangles: np.ndarray, _: torch.device) -> PreparedTopology:
    adjacent = neighbours(triangles)
    alike = wind_alike(triangles, adjacent)
    return PreparedTopology(
        triangles=np.ascontiguousarray(triangles, np.int32),
        adjacent=adjacent,
        sheet=np.where(alike, adjacent, -1).astype(np.int32),
        edges=_edges(triangles, adjacent, alike),
        uv=uv[uv_triangles].astype(np.float64),
        vertices=vertices_used(triangles),
    )


def _edges(triangles: np.ndarray, adjacent: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Each edge once; see `PreparedTopology`."""
    if not len(triangles):
        return np.empty((0, 5), np.int32)
    index = np.arange(len(triangles))[:, None]
    triangle, corner = np.nonzero((adjacent < 0) | (index < adjacent))
    ends = triangles[triangle[:, None], (corner[:, None] + [1, 2]) % 3]
    sides = np.stack([triangle, adjacent[triangle, corner], np.where(alike[triangle, corner], 1, -1)], axis=1)
    return np.ascontiguousarray(np.concatenate([ends, sides], axis=1), np.int32)


_kept = Kept(_make)
"""Of all renderers of the process together."""
