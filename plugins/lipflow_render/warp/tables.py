"""What the kernels need to know of a topology, made once and kept on its device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lipflow_render.topology import Kept, check_vertices, corners_at_vertices, neighbours, wind_alike


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
    tables = _kept.of(triangles, uv, uv_triangles, vertices.device)
    check_vertices(vertices, len(tables.starts) - 1)
    return tables


def _tables(triangles: np.ndarray, uv: np.ndarray, uv_triangles: np.ndarray, device: torch.device) -> Tables:
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


_kept = Kept(_tables)
"""Of all renderers of the process together."""
