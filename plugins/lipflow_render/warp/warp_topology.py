"""Topologies as Warp's kernels take them, made once for each device and kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lipflow_core.records import Topology
from lipflow_render.topology import Neighbours, TopologyCache, check_vertices, corners_at_vertices


@dataclass(frozen=True)
class WarpTopology:
    """A topology on a device.

    Args:
        triangles: (F, 3) int32.
        adjacent: (F, 3) int32, the triangle across the edge opposite each corner, -1 for none.
        sheet: (F, 3) int32, the same where both triangles wind the same way, else -1.
        uv_triangles: (F, 3) int32.
        starts, members: The corners at each vertex, see `corners_at_vertices`.
    """

    triangles: Tensor
    adjacent: Tensor
    sheet: Tensor
    uv_triangles: Tensor
    starts: Tensor
    members: Tensor


def warp_topology(triangles: Tensor, uv: Tensor, uv_triangles: Tensor, vertices: Tensor) -> WarpTopology:
    """Return a topology on the device of the vertices.

    Raises:
        ValueError: If the topology is not valid, or uses more vertices than are given.
    """
    made = _cache.of(Topology(triangles, uv, uv_triangles), vertices.device)
    check_vertices(vertices, len(made.starts) - 1)
    return made


def _make(triangles: np.ndarray, uv_triangles: np.ndarray, device: torch.device) -> WarpTopology:
    adjacent, sheet = Neighbours.of(triangles)
    starts, members = corners_at_vertices(triangles)
    tables = (np.array(triangles, np.int32), adjacent, sheet, np.array(uv_triangles, np.int32), starts, members)
    return WarpTopology(*(torch.from_numpy(table).to(device) for table in tables))


_cache = TopologyCache(_make)
"""Shared by all renderers of the process."""
