"""Which triangle each pixel sees, and where on it."""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline
from lipflow_kit.compiled.lanes import bits_of, lanes, ramp, select
from lipflow_kit.compiled.memory import fetch, load, store

from lipflow_render.cpu.geometry import PLANE, homogeneous
from lipflow_render.cpu.places import BLOCK

AHEAD = 8
"""How many triangles ahead of those that are drawn others are fetched."""


@inline
def find_nearest(
    vertices, projection, near, screen, triangles, planes, bounds, bins, first_row, last_row, nearness, seen
):
    """Rasterise triangles into rows first_row … last_row.

    Args:
        vertices, projection, near, screen, triangles, planes, bounds: As in `geometry.set_up`.
        bins: (N,) int32 triangles, those first that are likely to hide others.
        first_row, last_row: The first row and the last.
        nearness: (≥ rows, a multiple of BLOCK > W), written: 1 / depth of the nearest triangle, 0 for none.
        seen: The same in int32, written: the triangle, -1 for none.
    """
    nearness[:] = 0
    seen[:] = -1
    for m in range(bins.shape[0]):
        t, later = np.uint32(bins[m]), np.intp(bins[min(m + AHEAD, bins.shape[0] - 1)])
        fetch(planes, later * PLANE)
        fetch(bounds, later * 4)
        fetch(triangles, later * 3)
        if bounds[t, 0] >= 0 and planes[t, 11] < 0:
            draw_ahead(t, screen, triangles, planes, bounds, first_row, last_row, nearness, seen, False)
        elif bounds[t, 0] >= 0:
            draw_ahead(t, screen, triangles, planes, bounds, first_row, last_row, nearness, seen, True)
        else:
            draw_crossing(
                t, vertices, projection, near, screen, triangles, planes, bounds, first_row, last_row, nearness, seen
            )


@inline
def edge_of(screen, one, other, facing):
    """The edge between two vertices from the lower one to the higher: x, y, dx, dy, and on which side inside lies."""
    low, high = (one, other) if one < other else (other, one)
    x, y = screen[low, 0], screen[low, 1]
    return (x, y, screen[high, 0] - x, screen[high, 1] - y, facing if one < other else -facing)


@inline
def draw_ahead(t, screen, triangles, planes, bounds, first_row, last_row, nearness, seen, behind):
    """Rasterise a triangle that lies wholly beyond the near plane into rows first_row … last_row.

    A pixel is inside an edge where sign · (dx · (row - y) - dy · (column - x)) ≥ 0. Every pixel of the triangle's
    bounds is tested.

    Args:
        behind: Whether triangles of higher index may have been drawn before, and most of this one be hidden.
    """
    real = screen.dtype.type
    zero = real(0)
    i, j, k = (np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2]))
    facing = planes[t, 11]
    x0, y0, dx0, dy0, s0 = edge_of(screen, j, k, facing)
    x1, y1, dx1, dy1, s1 = edge_of(screen, k, i, facing)
    x2, y2, dx2, dy2, s2 = edge_of(screen, i, j, facing)
    # Signs change nothing about rounding.
    dx0, dx1, dx2, dy0, dy1, dy2 = (s0 * dx0, s1 * dx1, s2 * dx2, s0 * dy0, s1 * dy1, s2 * dy2)
    slope, column = planes[t, 0], planes[t, 9]
    left, right = np.intp(bounds[t, 0]), np.intp(bounds[t, 1])
    left -= left % BLOCK
    pitch, own = np.intp(nearness.shape[1]), lanes(np.int32(t), BLOCK)
    for row in range(max(bounds[t, 2], first_row), min(bounds[t, 3], last_row) + 1):
        height = real(np.int32(row))
        e0, e1, e2 = dx0 * (height - y0), dx1 * (height - y1), dx2 * (height - y2)
        base = planes[t, 1] * (height - planes[t, 10]) + planes[t, 2]
        line = (np.intp(row) - np.intp(first_row)) * pitch
        # Blocks start at multiples of BLOCK: what one triangle stored the next can load without waiting for it.
        for start in range(left, right + 1, BLOCK):
            x = ramp(real(np.int32(start)), BLOCK)
            inverse = (x - column) * slope + base
            before = load(nearness, line + start, BLOCK)
            nearer = inverse > before
            if behind:
                # As a rule all is hidden by what faces the camera.
                if bits_of(inverse >= before) == 0:
                    continue
                nearer = nearer | ((inverse == before) & (load(seen, line + start, BLOCK) > own))
            hit = (e0 - (x - x0) * dy0 >= zero) & (e1 - (x - x1) * dy1 >= zero) & (e2 - (x - x2) * dy2 >= zero) & nearer
            store(nearness, line + start, select(hit, inverse, before))
            store(seen, line + start, select(hit, own, load(seen, line + start, BLOCK)))


@inline
def inside_crossing(vertices, projection, screen, near, triangles, t, facing, column, row):
    """Whether a pixel is inside a triangle that crosses the near plane.

    An edge wholly beyond the near plane is tested like those of ordinary triangles, with which it may be shared.
    """
    for corner in range(3):
        one, other = triangles[t, (corner + 1) % 3], triangles[t, (corner + 2) % 3]
        low, high = (one, other) if one < other else (other, one)
        sign = facing if one < other else -facing
        if screen[low, 3] >= near and screen[high, 3] >= near:
            x, y = screen[low, 0], screen[low, 1]
            dx, dy = screen[high, 0] - x, screen[high, 1] - y
            area = -sign * (dy * (column - x) - dx * (row - y))
        else:
            x0, y0, w0 = homogeneous(vertices, projection, low)
            x1, y1, w1 = homogeneous(vertices, projection, high)
            x0, y0, x1, y1 = (x0 - column * w0, y0 - row * w0, x1 - column * w1, y1 - row * w1)
            area = sign * (x0 * y1 - x1 * y0)
        if area < 0:
            return False
    return True


@inline
def draw_crossing(
    t, vertices, projection, near, screen, triangles, planes, bounds, first_row, last_row, nearness, seen
):
    """The same for a triangle that crosses the near plane, pixel by pixel."""
    for row in range(max(bounds[t, 2], first_row), min(bounds[t, 3], last_row) + 1):
        line = row - first_row
        for x in range(-1 - bounds[t, 0], bounds[t, 1] + 1):
            value = planes[t, 0] * (x - planes[t, 9]) + planes[t, 1] * (row - planes[t, 10]) + planes[t, 2]
            before = nearness[line, x]
            if not value > 0 or value * near > 1 or value < before or (value == before and seen[line, x] < np.int32(t)):
                continue
            if inside_crossing(vertices, projection, screen, near, triangles, t, planes[t, 11], x, row):
                nearness[line, x] = value
                seen[line, x] = t
