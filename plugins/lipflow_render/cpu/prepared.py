"""Topologies as the kernels take them, made once and kept."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lipflow_render.topology import neighbours, wind_alike

KEPT = 8
"""Topologies that are kept."""

_kept: OrderedDict[tuple, tuple[tuple[Tensor, ...], PreparedTopology]] = OrderedDict()
_lock = threading.Lock()


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
    parts = (triangles, uv, uv_triangles)
    key = tuple((part.data_ptr(), part.shape, 0 if part.is_inference() else part._version) for part in parts)
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key][1]
    made = _make(*(part.detach().cpu().numpy() for part in parts))
    with _lock:
        # The tensors are kept beside it: while they live, no other tensor can have their memory.
        _kept[key] = (parts, made)
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    return made


def fitting(vertices: Tensor, triangles: Tensor, uv: Tensor, uv_triangles: Tensor) -> PreparedTopology:
    """The same for these vertices (B, V, 3); raises ValueError if the topology has more."""
    prepared = prepare(triangles, uv, uv_triangles)
    if vertices.shape[1] < prepared.vertices:
        raise ValueError(
            f"the topology's triangles use vertex {prepared.vertices - 1}, but only {vertices.shape[1]} are given"
        )
    return prepared


def _make(triangles: np.ndarray, uv: np.ndarray, uv_triangles: np.ndarray) -> PreparedTopology:
    if triangles.shape != uv_triangles.shape:
        raise ValueError(f"topology has {len(triangles)} triangles but {len(uv_triangles)} uv triangles")
    for name, index, limit in (("triangles", triangles, 2**31), ("uv_triangles", uv_triangles, len(uv))):
        if index.size and (index.min() < 0 or index.max() >= limit):
            raise ValueError(f"topology.{name} has indices outside 0 … {limit - 1}")
    if not np.isfinite(uv).all():  # the kernels turn uv into texel indices, and NaN into any
        raise ValueError("topology.uv holds NaN or infinity")
    corners = uv[uv_triangles].reshape(-1, 6)
    adjacent = neighbours(triangles)
    return PreparedTopology(
        triangles=np.ascontiguousarray(triangles, np.int32),
        adjacent=adjacent,
        sheet=np.where(wind_alike(triangles, adjacent), adjacent, -1).astype(np.int32),
        edges=_edges(triangles, adjacent),
        corners={np.dtype(kind): np.ascontiguousarray(corners, kind) for kind in (np.float32, np.float64)},
        vertices=int(triangles.max()) + 1 if triangles.size else 0,
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


def _renew_lock() -> None:
    """In a forked child: a thread of the parent may have held the lock."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
