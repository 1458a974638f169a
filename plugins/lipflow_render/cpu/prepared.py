"""Topologies as the kernels take them, made once and kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lipflow_render.topology import Kept, check_vertices, neighbours, vertices_used, wind_alike

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class PreparedTopology:
    """A topology as the kernels take it.

    Args:
        triangles: (F, 3) int32.
        adjacent: (F, 3) int32, the triangle across the edge opposite each corner, -1 for none.
        sheet: (F, 3) int32, the same where both triangles wind the same way, else -1.
        edges: (E, 4) int32, the vertices of each edge, and the third ones of the triangles on both sides; -1 for none.
        corners: dtype → (F, 6) u and v of each corner.
        vertices: One more than the highest vertex index.
    """

    triangles: np.ndarray
    adjacent: np.ndarray
    sheet: np.ndarray
    edges: np.ndarray
    corners: dict[np.dtype, np.ndarray]
    vertices: int


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
    corners = uv[uv_triangles].reshape(-1, 6)
    adjacent = neighbours(triangles)
    return PreparedTopology(
        triangles=np.ascontiguousarray(triangles, np.int32),
        adjacent=adjacent,
        sheet=np.where(wind_alike(triangles, adjacent), adjacent, -1).astype(np.int32),
        edges=_edges(triangles, adjacent),
        corners={np.dtype(kind): np.ascontiguousarray(corners, kind) for kind in (np.float32, np.float64)},
        vertices=vertices_used(triangles),
    )


def _edges(triangles: np.ndarray, adjacent: np.ndarray) -> np.ndarray:
    """Each edge once: its two vertices and those opposite to it; see `PreparedTopology`."""
    if not len(triangles):
        return np.empty((0, 4), np.int32)
    index = np.arange(len(triangles))[:, None]
    triangle, corner = np.nonzero((adjacent < 0) | (index < adjacent))
    across = adjacent[triangle, corner]
    ends = triangles[triangle[:, None], (corner[:, None] + [1, 2]) % 3]
    third = triangles[across].sum(axis=1) - ends.sum(axis=1)
    opposite = np.stack([triangles[triangle, corner], np.where(across < 0, -1, third)], axis=1)
    return np.ascontiguousarray(np.concatenate([ends, opposite], axis=1), np.int32)


_kept = Kept(_make)
"""Of all renderers of the process together."""
