"""Rasterisation: which triangle each pixel sees."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from lipflow_kit.compiled.jit import inline
from lipflow_kit.compiled.lanes import bits_of, lanes, ramp, select
from lipflow_kit.compiled.memory import fetch, load, store

from lipflow_render.cpu.geometry import PLANE, homogeneous
from lipflow_render.cpu.scanline import BLOCK
from lipflow_render.cpu.scene import (
    BOTTOM,
    COLUMN,
    D_0,
    D_X,
    D_Y,
    DEPTH,
    FACING,
    LEFT,
    RIGHT,
    ROW,
    TOP,
    X,
    Y,
)

AHEAD = 8
"""How many triangles in advance memory is prefetched."""


class Band(NamedTuple):
    """Rows of a picture that are rasterised together, small enough for a second-level cache.

    Args:
        first_row, last_row: The rows, both inclusive.
        nearness: (≥ rows, a multiple of BLOCK > W), 1 / depth of the nearest triangle at each pixel, 0 for none.
        seen: The same shape in int32, that triangle, -1 for none.
    """

    first_row: int
    last_row: int
    nearness: np.ndarray
    seen: np.ndarray


@inline
def find_nearest(scene, bounds, bins, band):
    """Rasterise triangles into a band.

    Args:
        scene: The mesh, prepared.
        bounds: See `geometry.set_up`.
        bins: (N,) int32 triangles, those first that are likely to hide others.
        band: `nearness` and `seen` are written.
    """
    triangles, screen, planes = scene.triangles, scene.screen, scene.planes
    nearness, seen = band.nearness, band.seen
    nearness[:] = 0
    seen[:] = -1
    for m in range(bins.shape[0]):
        t, later = np.uint32(bins[m]), np.intp(bins[min(m + AHEAD, bins.shape[0] - 1)])
        fetch(planes, later * PLANE)
        fetch(bounds, later * 4)
        fetch(triangles, later * 3)
        if bounds[t, LEFT] >= 0 and planes[t, FACING] < 0:
            draw_ahead(t, screen, triangles, planes, bounds, band, False)
        elif bounds[t, LEFT] >= 0:
            draw_ahead(t, screen, triangles, planes, bounds, band, True)
        else:
            draw_crossing(t, scene, bounds, band)


@inline
def edge_of(screen, one, other, facing):
    """The edge between two vertices from the lower index to the higher: x, y, dx, dy, and the sign of its inside."""
    low, high = (one, other) if one < other else (other, one)
    x, y = screen[low, X], screen[low, Y]
    return x, y, screen[high, X] - x, screen[high, Y] - y, facing if one < other else -facing


@inline
def draw_ahead(t, screen, triangles, planes, bounds, band, behind):
    """Rasterise a triangle that lies wholly beyond the near plane.

    A pixel is inside an edge where sign · (dx · (row - y) - dy · (column - x)) ≥ 0. Every pixel of the triangle's
    bounds is tested.

    Args:
        t: The triangle.
        screen, triangles, planes: See `Scene`.
        bounds: See `geometry.set_up`.
        band: Updated.
        behind: True if triangles of higher index may have been drawn before and most of this one is hidden.
    """
    real = screen.dtype.type
    zero = real(0)
    nearness, seen = band.nearness, band.seen
    i, j, k = np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2])
    facing = planes[t, FACING]
    x0, y0, dx0, dy0, s0 = edge_of(screen, j, k, facing)
    x1, y1, dx1, dy1, s1 = edge_of(screen, k, i, facing)
    x2, y2, dx2, dy2, s2 = edge_of(screen, i, j, facing)
    # Multiplying by a sign changes no rounding.
    dx0, dx1, dx2, dy0, dy1, dy2 = s0 * dx0, s1 * dx1, s2 * dx2, s0 * dy0, s1 * dy1, s2 * dy2
    slope, column = planes[t, D_X], planes[t, COLUMN]
    left, right = np.intp(bounds[t, LEFT]), np.intp(bounds[t, RIGHT])
    left -= left % BLOCK
    pitch, own = np.intp(nearness.shape[1]), lanes(np.int32(t), BLOCK)
    for row in range(max(bounds[t, TOP], band.first_row), min(bounds[t, BOTTOM], band.last_row) + 1):
        height = real(np.int32(row))
        e0, e1, e2 = dx0 * (height - y0), dx1 * (height - y1), dx2 * (height - y2)
        base = planes[t, D_Y] * (height - planes[t, ROW]) + planes[t, D_0]
        line = (np.intp(row) - np.intp(band.first_row)) * pitch
        # Blocks start at multiples of BLOCK, so that a load finds a whole earlier store in the store buffer.
        for start in range(left, right + 1, BLOCK):
            x = ramp(real(np.int32(start)), BLOCK)
            inverse = (x - column) * slope + base
            before = load(nearness, line + start, BLOCK)
            nearer = inverse > before
            if behind:
                # Most blocks are hidden by triangles that face the camera.
                if bits_of(inverse >= before) == 0:
                    continue
                nearer = nearer | ((inverse == before) & (load(seen, line + start, BLOCK) > own))
            hit = (e0 - (x - x0) * dy0 >= zero) & (e1 - (x - x1) * dy1 >= zero) & (e2 - (x - x2) * dy2 >= zero) & nearer
            store(nearness, line + start, select(hit, inverse, before))
            store(seen, line + start, select(hit, own, load(seen, line + start, BLOCK)))


@inline
def inside_crossing(vertices, projection, screen, near, triangles, t, facing, column, row):
    """Whether a pixel is inside a triangle that crosses the near plane.

    An edge wholly beyond the near plane is tested as in `draw_ahead`, since an ordinary triangle may share it.
    """
    for corner in range(3):
        one, other = triangles[t, (corner + 1) % 3], triangles[t, (corner + 2) % 3]
        low, high = (one, other) if one < other else (other, one)
        sign = facing if one < other else -facing
        if screen[low, DEPTH] >= near and screen[high, DEPTH] >= near:
            x, y = screen[low, X], screen[low, Y]
            dx, dy = screen[high, X] - x, screen[high, Y] - y
            area = -sign * (dy * (column - x) - dx * (row - y))
        else:
            x0, y0, w0 = homogeneous(vertices, projection, low)
            x1, y1, w1 = homogeneous(vertices, projection, high)
            x0, y0, x1, y1 = x0 - column * w0, y0 - row * w0, x1 - column * w1, y1 - row * w1
            area = sign * (x0 * y1 - x1 * y0)
        if area < 0:
            return False
    return True


@inline
def draw_crossing(t, scene, bounds, band):
    """Rasterise a triangle that crosses the near plane, pixel by pixel; arguments as in `find_nearest`."""
    vertices, projection, near = scene.vertices, scene.projection, scene.near
    screen, triangles, planes = scene.screen, scene.triangles, scene.planes
    nearness, seen = band.nearness, band.seen
    for row in range(max(bounds[t, TOP], band.first_row), min(bounds[t, BOTTOM], band.last_row) + 1):
        line = row - band.first_row
        for x in range(-1 - bounds[t, LEFT], bounds[t, RIGHT] + 1):
            value = planes[t, D_X] * (x - planes[t, COLUMN]) + planes[t, D_Y] * (row - planes[t, ROW]) + planes[t, D_0]
            before = nearness[line, x]
            if not value > 0 or value * near > 1 or value < before or (value == before and seen[line, x] < np.int32(t)):
                continue
            if inside_crossing(vertices, projection, screen, near, triangles, t, planes[t, FACING], x, row):
                nearness[line, x] = value
                seen[line, x] = t
