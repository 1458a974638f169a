"""Topologies as the kernels of renderer `cpu` take them, made once and kept."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lipflow_core.records import Topology
from lipflow_render.topology import Neighbours, TopologyCache, check_uv, check_vertices, vertices_used

MOST_SIZES = 8
"""Sizes of textures that the corners of a topology are kept for."""


@dataclass(frozen=True)
class CpuTopology:
    """A topology as the kernels take it.

    Args:
        triangles: (F, 3) int32.
        adjacency: The fields of an `Adjacency`.
        uv_triangles: (F, 3) indices into uv.
        vertices: One more than the highest vertex index.
    """

    triangles: np.ndarray
    adjacency: tuple[np.ndarray, np.ndarray, np.ndarray]
    uv_triangles: np.ndarray
    vertices: int
    _corners: dict[tuple, tuple[bytes, np.ndarray]] = field(default_factory=dict, repr=False)

    def corners(self, uv: Tensor, texels: tuple[int, int], kind: np.dtype) -> np.ndarray:
        """Return the corners' texture coordinates in texels, kept until uv changes.

        Args:
            uv: (U, 2).
            texels: Width and height of the texture.
            kind: Precision of the result.

        Returns:
            (F, CORNER), see `scene.CORNER`.

        Raises:
            ValueError: If uv is not finite.
        """
        uv = uv.detach()
        # By value: fused optimisers change tensors without counting the change.
        values = uv.numpy().tobytes()
        made_of, corners = self._corners.get((texels, kind, uv.dtype), (None, None))
        if made_of == values:
            return corners
        check_uv(uv)
        places = uv.numpy().astype(np.float64)[self.uv_triangles]
        places = np.stack([places[..., 0], 1 - places[..., 1]], axis=-1) * texels - 0.5
        within = places.clip(0, np.array(texels) - 1)
        ranges = np.stack([within.min(axis=1), within.max(axis=1)], axis=-1)
        corners = np.concatenate([places.reshape(-1, 6), ranges.reshape(-1, 4)], axis=1).astype(kind)
        if len(self._corners) >= MOST_SIZES:
            self._corners.clear()
        self._corners[texels, kind, uv.dtype] = values, corners
        return corners


def cpu_topology(topology: Topology, vertices: Tensor) -> CpuTopology:
    """Return a topology as the kernels take it, for vertices (B, V, 3).

    Raises:
        ValueError: If the topology is not valid, or uses more vertices than are given.
    """
    made = _cache.of(topology, vertices.device)
    check_vertices(vertices, made.vertices)
    return made


def _make(triangles: np.ndarray, uv_triangles: np.ndarray, _: torch.device) -> CpuTopology:
    neighbours = Neighbours.of(triangles)
    return CpuTopology(
        triangles=np.array(triangles, np.int32),
        adjacency=(*neighbours, _edges(triangles, neighbours)),
        uv_triangles=uv_triangles.copy(),
        vertices=vertices_used(triangles),
    )


def _edges(triangles: np.ndarray, neighbours: Neighbours) -> np.ndarray:
    """Each edge once, see `Adjacency.edges`."""
    if not len(triangles):
        return np.empty((0, 5), np.int32)
    adjacent, sheet = neighbours
    index = np.arange(len(triangles))[:, None]
    triangle, corner = np.nonzero((adjacent < 0) | (index < adjacent))
    ends = triangles[triangle[:, None], (corner[:, None] + [1, 2]) % 3]
    winding = np.where(sheet[triangle, corner] >= 0, 1, -1)
    sides = np.stack([triangle, adjacent[triangle, corner], winding], axis=1)
    return np.ascontiguousarray(np.concatenate([ends, sides], axis=1), np.int32)


_cache = TopologyCache(_make)
"""Shared by all renderers of the process."""
