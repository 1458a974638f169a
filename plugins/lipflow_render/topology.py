"""What renderers derive from a topology once and keep: which triangle lies across each edge."""

from __future__ import annotations

import numpy as np


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
