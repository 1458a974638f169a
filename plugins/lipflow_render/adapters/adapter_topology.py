"""Topologies as the packages take them, and the picture in which there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipflow_core.records import Camera, Rendering, Topology
from lipflow_render.topology import TopologyCache, check_vertices, vertices_used


@dataclass(frozen=True)
class AdapterTopology:
    """A topology on a device.

    Args:
        triangles: (F, 3) int32.
        uv_triangles: (F, 3) int32.
        vertices: One more than the highest vertex index.
        extra: What the package computes once per topology.
    """

    triangles: Tensor
    uv_triangles: Tensor
    vertices: int
    extra: Any


class AdapterTopologies:
    """Converts topologies, and keeps those seen last.

    Args:
        extra: Computes `AdapterTopology.extra` from int32 triangles.
    """

    def __init__(self, extra: Callable[[Tensor], Any] = lambda triangles: None):
        self._extra = extra
        self._cache = TopologyCache(self._make)

    def of(self, topology: Topology, vertices: Tensor) -> AdapterTopology:
        """Return a topology on the device of the vertices (B, V, 3).

        Raises:
            ValueError: If the topology is not valid, or uses more vertices than are given.
        """
        made = self._cache.of(topology, vertices.device)
        check_vertices(vertices, made.vertices)
        return made

    def _make(self, triangles: np.ndarray, uv_triangles: np.ndarray, device: torch.device) -> AdapterTopology:
        small = torch.tensor(triangles, dtype=torch.int32, device=device)
        return AdapterTopology(
            triangles=small,
            uv_triangles=torch.tensor(uv_triangles, dtype=torch.int32, device=device),
            vertices=vertices_used(triangles),
            extra=self._extra(small) if triangles.size else None,
        )


def backdrop(texture: Tensor, camera: Camera, background: Tensor | None) -> Tensor:
    """(B or 1, C, H, W) the picture where nothing is hit."""
    if background is None:
        return texture.new_zeros((1, texture.shape[1], camera.height, camera.width))
    return background.to(texture.dtype)


def nothing_hit(batch: int, behind: Tensor) -> Rendering:
    """The rendering of an empty mesh or of no samples, in front of a backdrop."""
    height, width = behind.shape[-2:]
    empty = behind.new_zeros((batch, height, width))
    return Rendering(
        image=behind.expand(batch, -1, -1, -1).clone(),
        coverage=empty,
        depth=empty.clone(),
        triangle=torch.full_like(empty, -1, dtype=torch.int64),
        barycentric=behind.new_zeros((batch, 3, height, width)),
    )
