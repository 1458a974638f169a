"""What renderers derive from a topology once and keep: checked indices, which triangle lies across each edge."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
import torch
from lipflow_kit.locks import Lock
from torch import Tensor

KEPT = 8
"""Topologies that a `Kept` remembers."""

MOST_VERTICES = 1 << 28
"""Vertices that kernels and packages can count."""

Made = TypeVar("Made")
_lock = Lock()


class Kept(Generic[Made]):
    """What a renderer makes of topologies, remembered for those last seen.

    Args:
        make: Makes it of triangles (F, 3), uv (U, 2) and uv_triangles (F, 3), all checked, for a device.
    """

    def __init__(self, make: Callable[[np.ndarray, np.ndarray, np.ndarray, torch.device], Made]):
        self._make = make
        self._kept: OrderedDict[tuple, tuple[tuple[Tensor, ...], Made]] = OrderedDict()

    def of(self, triangles: Tensor, uv: Tensor, uv_triangles: Tensor, device: torch.device) -> Made:
        """What was made of these tensors (see `Topology`) for a device, unless they have changed since.

        torch counts changes in place, but for those by `.data`, through numpy, or of inference tensors: these are not
        seen. Make new tensors, or clone them, after such a change.

        Raises:
            ValueError: If their shapes do not fit, indices are out of range, or uv is not finite.
        """
        parts = (triangles, uv, uv_triangles)
        key = (device, *(_identity(part) for part in parts))
        with _lock.held:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][1]
        arrays = [part.detach().cpu().numpy() for part in parts]
        _check(*arrays)
        made = self._make(*arrays, device)
        with _lock.held:
            # The tensors are kept beside it: while they live, no other tensor can lie in their place.
            self._kept[key] = (parts, made)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made


def _identity(part: Tensor) -> tuple:
    version = 0 if part.is_inference() else part._version
    return part.data_ptr(), part.device, part.dtype, part.shape, part.stride(), version


def _check(triangles: np.ndarray, uv: np.ndarray, uv_triangles: np.ndarray) -> None:
    """Kernels and packages read memory where indices point to, and turn uv into texel indices."""
    if triangles.shape != uv_triangles.shape:
        raise ValueError(f"topology has {len(triangles)} triangles but {len(uv_triangles)} uv triangles")
    for name, index, limit in (("triangles", triangles, MOST_VERTICES), ("uv_triangles", uv_triangles, len(uv))):
        if index.size and (index.min() < 0 or index.max() >= limit):
            least, most = index.min(), index.max()
            least_or_most = f"{least}: indices begin at 0" if least < 0 else f"{most}: there are {limit} of them"
            raise ValueError(f"topology.{name} has index {least_or_most}")
    if not np.isfinite(uv).all():
        raise ValueError("topology.uv holds NaN or infinity")


def vertices_used(triangles: np.ndarray) -> int:
    """One more than the highest vertex index."""
    return int(triangles.max()) + 1 if triangles.size else 0


def check_vertices(vertices: Tensor, used: int) -> None:
    """Raise a ValueError if triangles use vertices that are not given, of (B, V, 3)."""
    if vertices.shape[1] < used:
        raise ValueError(f"the topology's triangles use vertex {used - 1}, but only {vertices.shape[1]} are given")


def neighbours(triangles: np.ndarray) -> np.ndarray:
    """The triangle across each edge.

    Where more than two triangles share an edge they are paired in order of their index.

    Args:
        triangles: (F, 3) indices into the vertices.

    Returns:
        (F, 3) int32; entry i of a triangle is its neighbour across the edge opposite its corner i, -1 for none.
    """
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
    # Within a run of equal keys pair first with second, third with fourth: a pair starts at even places of its run.
    starts = np.concatenate([[True], ~same])
    place = np.arange(len(order)) - np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    first = np.flatnonzero(same & (place[:-1] % 2 == 0))
    one, other = order[first], order[first + 1]
    flat = result.reshape(-1)
    flat[one], flat[other] = other // 3, one // 3
    return result


def wind_alike(triangles: np.ndarray, adjacent: np.ndarray) -> np.ndarray:
    """Whether triangles and their neighbours run along their common edge in opposite directions, as they should.

    Args:
        triangles: (F, 3) indices into the vertices.
        adjacent: (F, 3) as from `neighbours`.

    Returns:
        (F, 3) bool; False where there is no neighbour.
    """
    start, end = np.roll(triangles, -1, axis=1), np.roll(triangles, -2, axis=1)
    across = triangles[np.maximum(adjacent, 0)]
    reversed_there = (across == end[..., None]) & (np.roll(across, -1, axis=2) == start[..., None])
    return reversed_there.any(axis=2) & (adjacent >= 0)


def corners_at_vertices(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which corners of triangles lie at each vertex.

    Args:
        triangles: (F, 3) indices into the vertices.

    Returns:
        (V + 1,) int32 and (3 F,) int32: the corners at vertex v, as 3 · triangle + corner in increasing order, are the
        second from place first[v] to first[v + 1]. V is one more than the highest index in use.
    """
    flat = triangles.reshape(-1)
    starts = np.concatenate([[0], np.cumsum(np.bincount(flat))]).astype(np.int32)
    return starts, np.argsort(flat, kind="stable").astype(np.int32)
