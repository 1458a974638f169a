"""What renderers derive from a topology: one check of it, and tables of its triangles, kept between pictures."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from lipflow_kit.locks import Lock
from torch import Tensor

from lipflow_core.records import Topology

KEPT = 8
"""Topologies whose tables a `TopologyCache` keeps."""

MOST_VERTICES = 1 << 28
"""Vertices that a mesh may have: kernels and packages count them in 32 bits."""

Made = TypeVar("Made")
_lock = Lock()


class TopologyCache(Generic[Made]):
    """Keeps the tables that a renderer derives from the triangles of a topology.

    No table depends on the values of uv: an optimiser may change uv in place, and fused optimisers do so unnoticed.

    Args:
        make: Derives the tables from triangles (F, 3) and uv_triangles (F, 3), both checked, for a device.
    """

    def __init__(self, make: Callable[[np.ndarray, np.ndarray, torch.device], Made]):
        self._make = make
        self._kept: OrderedDict[tuple, tuple[tuple[Tensor, ...], Made]] = OrderedDict()

    def of(self, topology: Topology, device: torch.device) -> Made:
        """Return the tables of a topology for a device; the topology is checked when its tables are made.

        Triangles that were changed in place are noticed by torch's count of changes. Changes by `.data`, through numpy,
        or of inference tensors are not counted.

        Raises:
            ValueError: If the topology is not valid, see `check_topology`.
        """
        triangles, uv, uv_triangles = topology.triangles, topology.uv, topology.uv_triangles
        key = (device, _identity(triangles), _identity(uv_triangles), len(uv))
        with _lock.held:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][1]
        check_topology(topology)
        made = self._make(triangles.cpu().numpy(), uv_triangles.cpu().numpy(), device)
        with _lock.held:
            # The tensors are kept too: while they exist, no other tensor can have their address.
            self._kept[key] = ((triangles, uv_triangles), made)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made


def _identity(part: Tensor) -> tuple:
    version = 0 if part.is_inference() else part._version
    return part.data_ptr(), part.device, part.dtype, part.shape, part.stride(), version


def check_topology(topology: Topology) -> None:
    """Check what every renderer relies on: kernels read memory where indices point, and make texel indices from uv.

    Raises:
        ValueError: If triangles or uv_triangles are not integers of shape (F, 3), if they differ in number, if an index
            is out of range, or if uv is not finite or not of shape (U, 2).
    """
    triangles, uv, uv_triangles = topology.triangles, topology.uv, topology.uv_triangles
    for name, index in (("triangles", triangles), ("uv_triangles", uv_triangles)):
        if index.dtype == torch.bool or index.is_floating_point() or index.is_complex():
            raise ValueError(f"topology.{name} must hold integers such as int64, not {index.dtype}")
        if index.ndim != 2 or index.shape[1] != 3:
            raise ValueError(f"topology.{name} must have shape (F, 3), not {tuple(index.shape)}")
    if uv.ndim != 2 or uv.shape[1] != 2:
        raise ValueError(f"topology.uv must have shape (U, 2), not {tuple(uv.shape)}")
    if len(triangles) != len(uv_triangles):
        raise ValueError(f"topology has {len(triangles)} triangles but {len(uv_triangles)} uv triangles")
    for name, index, limit in (("triangles", triangles, MOST_VERTICES), ("uv_triangles", uv_triangles, len(uv))):
        if not index.numel():
            continue
        least, most = int(index.min()), int(index.max())
        if least < 0:
            raise ValueError(f"topology.{name} contains index {least}; indices start at 0")
        if most >= limit:
            raise ValueError(f"topology.{name} contains index {most}; the greatest that is valid is {limit - 1}")
    check_uv(uv)


def check_uv(uv: Tensor) -> None:
    """Raise a ValueError if texture coordinates are not finite."""
    if not uv.isfinite().all():
        raise ValueError("topology.uv contains NaN or infinity")


def finite_uv(uv: Tensor, device: torch.device) -> Tensor:
    """Texture coordinates on a device, safe to make texel indices of: NaN and infinity become 0 or 1.

    On a GPU, to raise an error instead would wait for the device. Tables were made of finite coordinates; only a later
    change in place can make them other than finite.
    """
    return uv.detach().to(device).nan_to_num(0.0, 1.0, 0.0)


def vertices_used(triangles: np.ndarray) -> int:
    """One more than the highest vertex index."""
    return int(triangles.max()) + 1 if triangles.size else 0


def check_vertices(vertices: Tensor, used: int) -> None:
    """Raise a ValueError if triangles use more vertices than are given as (B, V, 3)."""
    if vertices.shape[1] < used:
        raise ValueError(f"the topology's triangles use vertex {used - 1}, but only {vertices.shape[1]} are given")


class Neighbours(NamedTuple):
    """Which triangles share edges.

    Args:
        adjacent: (F, 3) int32, the triangle across the edge opposite each corner, -1 for none.
        sheet: (F, 3) int32, the same where both triangles wind the same way, else -1.
    """

    adjacent: np.ndarray
    sheet: np.ndarray

    @classmethod
    def of(cls, triangles: np.ndarray) -> Neighbours:
        """Find the neighbours of triangles (F, 3); if more than two share an edge, they pair in order of index."""
        adjacent = _adjacent(triangles)
        start, end = np.roll(triangles, -1, axis=1), np.roll(triangles, -2, axis=1)
        across = triangles[np.maximum(adjacent, 0)]
        # Triangles that wind the same way run along their common edge in opposite directions.
        opposed = ((across == end[..., None]) & (np.roll(across, -1, axis=2) == start[..., None])).any(axis=2)
        return cls(adjacent, np.where(opposed, adjacent, -1).astype(np.int32))


def _adjacent(triangles: np.ndarray) -> np.ndarray:
    count = len(triangles)
    result = np.full((count, 3), -1, np.int32)
    if count == 0:
        return result
    corners = triangles.astype(np.int64)
    ends = np.stack([np.roll(corners, -1, axis=1), np.roll(corners, -2, axis=1)], axis=-1).reshape(-1, 2)
    low, high = ends.min(axis=1), ends.max(axis=1)
    key = low * (int(corners.max()) + 1) + high
    order = np.argsort(key, kind="stable")
    same = key[order][1:] == key[order][:-1]
    # Within a run of equal keys the first pairs with the second, the third with the fourth.
    starts = np.concatenate([[True], ~same])
    place = np.arange(len(order)) - np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    first = np.flatnonzero(same & (place[:-1] % 2 == 0))
    one, other = order[first], order[first + 1]
    flat = result.reshape(-1)
    flat[one], flat[other] = other // 3, one // 3
    return result


def corners_at_vertices(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """List the corners of triangles that lie at each vertex.

    Args:
        triangles: (F, 3) indices into the vertices.

    Returns:
        starts: (V + 1,) int32, V being one more than the highest index in use.
        members: (3 F,) int32; the corners at vertex v, as 3 · triangle + corner in increasing order, are
            members[starts[v] : starts[v + 1]].
    """
    flat = triangles.reshape(-1)
    starts = np.concatenate([[0], np.cumsum(np.bincount(flat))]).astype(np.int32)
    return starts, np.argsort(flat, kind="stable").astype(np.int32)
