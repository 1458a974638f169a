"""What the kernels need to know of a topology, made once and kept on its device."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lipflow_render.topology import corners_at_vertices, neighbours, wind_alike
from lipflow_render.warp.locks import Lock

KEPT = 8
"""Topologies remembered, of all renderers of the process together."""

_kept: OrderedDict[tuple, tuple[tuple[Tensor, ...], Tables]] = OrderedDict()
_lock = Lock()


@dataclass(frozen=True)
class Tables:
    """A topology as the kernels take it.

    Args:
        triangles: (F, 3) int32.
        adjacent: (F, 3) int32, the triangle across the edge opposite each corner, -1 for none.
        sheet: (F, 3) int32, the same where both triangles wind the same way, else -1.
        corners: (F, 6) float64, u and v of each corner.
        starts: (V' + 1,) int32, where the corners at each of the vertices in use begin in `members`.
        members: (3 F,) int32, corners (3 · triangle + corner) vertex by vertex.
    """

    triangles: Tensor
    adjacent: Tensor
    sheet: Tensor
    corners: Tensor
    starts: Tensor
    members: Tensor


def tables_of(triangles: Tensor, uv: Tensor, uv_triangles: Tensor, vertices: Tensor) -> Tables:
    """The tables of a topology on the device of the vertices.

    Raises:
        ValueError: If the topology's indices or uv are out of range, or if it needs more vertices than there are.
    """
    parts, device = (triangles, uv, uv_triangles), vertices.device
    # The parts are kept beside the tables: while they live, no other tensor can lie in their place.
    key = (device, *((p.data_ptr(), p.shape, p.dtype, 0 if p.is_inference() else p._version) for p in parts))
    with _lock:
        kept = _kept.get(key)
        if kept is not None:
            _kept.move_to_end(key)
    tables = _tables(*(part.detach().cpu().numpy() for part in parts), device) if kept is None else kept[1]
    if vertices.shape[1] < len(tables.starts) - 1:
        raise ValueError(
            f"the topology's triangles use vertex {len(tables.starts) - 2}, but only {vertices.shape[1]} are given"
        )
    if kept is None:
        with _lock:
            _kept[key] = (parts, tables)
            if len(_kept) > KEPT:
                _kept.popitem(last=False)
    return tables


def _tables(triangles: np.ndarray, uv: np.ndarray, uv_triangles: np.ndarray, device: torch.device) -> Tables:
    if triangles.shape != uv_triangles.shape:
        raise ValueError(f"topology has {len(triangles)} triangles but {len(uv_triangles)} uv triangles")
    for name, index, limit in (("triangles", triangles, 2**31), ("uv_triangles", uv_triangles, len(uv))):
        if index.size and (index.min() < 0 or index.max() >= limit):
            raise ValueError(f"topology.{name} has indices outside 0 … {limit - 1}")
    if not np.isfinite(uv).all():
        raise ValueError("topology.uv holds NaN or infinity")
    adjacent = neighbours(triangles)
    starts, members = corners_at_vertices(triangles)
    made = {
        "triangles": triangles.astype(np.int32),
        "adjacent": adjacent,
        "sheet": np.where(wind_alike(triangles, adjacent), adjacent, -1).astype(np.int32),
        "corners": uv[uv_triangles].reshape(-1, 6).astype(np.float64),
        "starts": starts,
        "members": members,
    }
    return Tables(**{name: torch.from_numpy(table).to(device) for name, table in made.items()})
