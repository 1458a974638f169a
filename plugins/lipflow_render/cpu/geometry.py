"""Kernels from vertices to triangles that are ready to be rasterised.

With H = [h₀ h₁ h₂] the homogeneous pixel coordinates (X, Y, W) of a triangle's corners, the rows of H⁻¹ are planes over
the picture: Nᵢ(p, q) = (H⁻¹)ᵢ·(p, q, 1) = bᵢ / depth, where bᵢ is the perspective-correct weight of corner i. An
attribute with corner values a is the quotient of the planes Σ aᵢNᵢ and Σ Nᵢ. Planes are stored relative to a pixel
within the triangle's bounds, so that float32 does not cancel.
"""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline
from lipflow_kit.compiled.lanes import ceil, floor, joined, lane, maximum, minimum
from lipflow_kit.compiled.memory import load, store

from lipflow_render.cpu.scene import (
    BOTTOM,
    COLUMN,
    CORNER,
    CORNER_RANGE,
    DEPTH,
    FACING,
    INVERSE,
    LEFT,
    RIGHT,
    ROW,
    TOP,
    U_LOW,
    U_X,
    V_HIGH,
    X,
    Y,
)

DEGENERATE = 1e-12
"""Triangles of no more than this doubled area are not drawn."""
FLAT = 1e-3
"""Triangles no higher than this in pixels over their longest edge may be folded along any of their edges."""
PLANE = V_HIGH + 1
"""Columns of `Scene.planes`."""


@inline
def transform(scene):
    """Project the vertices: write `scene.screen`."""
    vertices, p, near, screen = scene.vertices, scene.projection, scene.near, scene.screen
    for v in range(vertices.shape[0]):
        x, y, w = homogeneous(vertices, p, v)
        inverse = 1.0 / (w if w >= near else 1.0)
        screen[v, X] = x * inverse
        screen[v, Y] = y * inverse
        screen[v, INVERSE] = inverse
        screen[v, DEPTH] = w


@inline
def homogeneous(vertices, projection, v):
    """(X, Y, W) of one vertex in float64."""
    p = projection
    a, b, c = np.float64(vertices[v, 0]), np.float64(vertices[v, 1]), np.float64(vertices[v, 2])
    return (
        p[0, 0] * a + p[0, 1] * b + p[0, 2] * c + p[0, 3],
        p[1, 0] * a + p[1, 1] * b + p[1, 2] * c + p[1, 3],
        p[2, 0] * a + p[2, 1] * b + p[2, 2] * c + p[2, 3],
    )


@inline
def relative_corners(vertices, projection, i, j, k, column, row):
    """(X, Y, W) of three vertices, with a pixel as the origin of X / W and Y / W: nine numbers in float64."""
    x0, y0, w0 = homogeneous(vertices, projection, i)
    x1, y1, w1 = homogeneous(vertices, projection, j)
    x2, y2, w2 = homogeneous(vertices, projection, k)
    return (
        x0 - column * w0,
        y0 - row * w0,
        w0,
        x1 - column * w1,
        y1 - row * w1,
        w1,
        x2 - column * w2,
        y2 - row * w2,
        w2,
    )


@inline
def inverse_ahead(screen, i, j, k, column, row):
    """H⁻¹ by rows and twice the area of a triangle wholly beyond the near plane, relative to a pixel."""
    x0, y0 = screen[i, X] - column, screen[i, Y] - row
    x1, y1 = screen[j, X] - column, screen[j, Y] - row
    x2, y2 = screen[k, X] - column, screen[k, Y] - row
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    over = screen.dtype.type(1) / area
    s0, s1, s2 = screen[i, INVERSE] * over, screen[j, INVERSE] * over, screen[k, INVERSE] * over
    return (
        (y1 - y2) * s0,
        (x2 - x1) * s0,
        (x1 * y2 - x2 * y1) * s0,
        (y2 - y0) * s1,
        (x0 - x2) * s1,
        (x2 * y0 - x0 * y2) * s1,
        (y0 - y1) * s2,
        (x1 - x0) * s2,
        (x0 * y1 - x1 * y0) * s2,
        area,
    )


@inline
def inverse_crossing(vertices, projection, i, j, k, column, row):
    """H⁻¹ by rows and det H of a triangle that crosses the near plane, relative to a pixel, in float64."""
    x0, y0, w0, x1, y1, w1, x2, y2, w2 = relative_corners(vertices, projection, i, j, k, column, row)
    a0, b0, c0 = y1 * w2 - w1 * y2, w1 * x2 - x1 * w2, x1 * y2 - y1 * x2
    a1, b1, c1 = y2 * w0 - w2 * y0, w2 * x0 - x2 * w0, x2 * y0 - y2 * x0
    a2, b2, c2 = y0 * w1 - w0 * y1, w0 * x1 - x0 * w1, x0 * y1 - y0 * x1
    det = x0 * a0 + y0 * b0 + w0 * c0
    over = 1.0 / det
    return (a0 * over, b0 * over, c0 * over, a1 * over, b1 * over, c1 * over, a2 * over, b2 * over, c2 * over, det)


@inline
def clipped_bounds(vertices, projection, near, i, j, k):
    """(left, right, top, bottom) of the part of a triangle beyond the near plane; empty if there is none."""
    left, right, top, bottom = np.inf, -np.inf, np.inf, -np.inf
    corners = (i, j, k)
    for n in range(3):
        x, y, w = homogeneous(vertices, projection, corners[n])
        x1, y1, w1 = homogeneous(vertices, projection, corners[(n + 1) % 3])
        if w >= near:
            left, right = min(left, x / w), max(right, x / w)
            top, bottom = min(top, y / w), max(bottom, y / w)
        if (w >= near) != (w1 >= near):
            share = (near - w) / (w1 - w)
            cx, cy = (x + share * (x1 - x)) / near, (y + share * (y1 - y)) / near
            left, right = min(left, cx), max(right, cx)
            top, bottom = min(top, cy), max(bottom, cy)
    return left, right, top, bottom


@inline
def set_up(scene, corners, size, band, bounds, starts):
    """Write the planes and bounds of the triangles that may hit a pixel centre, and sort them into bands of rows.

    Args:
        scene: The mesh, its vertices transformed; `planes` and `facing` are written.
        corners: (F, CORNER), see `CORNER`.
        size: Width and height of the picture.
        band: Logarithm to the base 2 of the rows per band: a shift is faster than a division.
        bounds: (F, 4) int32, see `LEFT`, written for triangles in bins. Triangles that cross the near plane get
            -1 - left in place of left.
        starts: (bands + 1,) int64, written: where each band begins in bins.

    Returns:
        bins: (N,) int32, the triangles of all bands in turn. Within a band those that face the camera come first, since
            they hide others; each of the two groups is in increasing order.
    """
    vertices, projection, near = scene.vertices, scene.projection, scene.near
    triangles, screen, planes = scene.triangles, scene.screen, scene.planes
    real = screen.dtype.type
    zero, one = real(0), real(1)
    last_column, last_row = real(size[0] - 1), real(size[1] - 1)
    band = np.int32(band)
    live, turned = np.empty(triangles.shape[0] + 1, np.int32), np.empty(triangles.shape[0] + 1, np.int32)
    candidates = select_near_centres(near, screen, triangles, last_column, last_row, live, scene.facing)
    count, turned_count = 0, 0
    starts[:] = 0
    for n in range(candidates):
        t = np.uint32(live[n])
        i, j, k = np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2])
        crossing = not (screen[i, DEPTH] >= near and screen[j, DEPTH] >= near and screen[k, DEPTH] >= near)
        if crossing:
            left_, right_, top_, bottom_ = clipped_bounds(vertices, projection, near, i, j, k)
            # A cut point is rounded: one pixel more on each side costs nothing, the hit test decides.
            x_low, x_high = real(left_) - one, real(right_) + one
            y_low, y_high = real(top_) - one, real(bottom_) + one
            if not (x_high >= zero and y_high >= zero and x_low <= last_column and y_low <= last_row):
                continue
        else:
            low, high = corner_bounds(screen, i, j, k)
            x_low, x_high, y_low, y_high = lane(low, X), lane(high, X), lane(low, Y), lane(high, Y)
        left, right = np.int32(np.ceil(max(x_low, zero))), np.int32(min(x_high, last_column))
        top, bottom = np.int32(np.ceil(max(y_low, zero))), np.int32(min(y_high, last_row))
        if left > right or top > bottom:
            continue
        column, row = real(left), real(top)
        if crossing:
            a0, b0, c0, a1, b1, c1, a2, b2, c2, area = inverse_crossing(
                vertices, projection, i, j, k, np.float64(left), np.float64(top)
            )
            a0, b0, c0, a1, b1, c1 = real(a0), real(b0), real(c0), real(a1), real(b1), real(c1)
            a2, b2, c2 = real(a2), real(b2), real(c2)
        else:
            a0, b0, c0, a1, b1, c1, a2, b2, c2, area = inverse_ahead(screen, i, j, k, column, row)
        if not abs(area) > DEGENERATE:
            continue
        first, second, third = joined((a0, b0, c0, zero)), joined((a1, b1, c1, zero)), joined((a2, b2, c2, zero))
        place = np.intp(t) * PLANE
        # Four lanes for three coefficients: the fourth is overwritten by what is stored next.
        store(planes, place, first + second + third)
        for axis in range(2):
            store(
                planes,
                place + U_X + 3 * axis,
                first * corners[t, axis] + second * corners[t, 2 + axis] + third * corners[t, 4 + axis],
            )
        planes[t, COLUMN], planes[t, ROW], planes[t, FACING] = column, row, (one if area > 0 else -one)
        store(planes, place + U_LOW, load(corners, np.intp(t) * CORNER + CORNER_RANGE, 4))
        bounds[t, LEFT], bounds[t, RIGHT] = -1 - left if crossing else left, right
        bounds[t, TOP], bounds[t, BOTTOM] = top, bottom
        # Rows run down, so a negative area faces the camera. Which way a triangle faces is hard to predict: without a
        # branch, each is written to both lists and counted in one.
        live[count], turned[turned_count] = t, t
        count += np.intp(area < 0)
        turned_count += np.intp(not area < 0)
        for b in range(top >> band, (bottom >> band) + 1):
            starts[b + 1] += 1
    for b in range(1, starts.shape[0]):
        starts[b] += starts[b - 1]
    bins = np.empty(starts[-1], np.int32)
    for n in range(count):
        add_to_bins(live[n], bounds, band, starts, bins)
    for n in range(turned_count):
        add_to_bins(turned[n], bounds, band, starts, bins)
    for b in range(starts.shape[0] - 1, 0, -1):
        starts[b] = starts[b - 1]
    starts[0] = 0
    return bins


@inline
def add_to_bins(t, bounds, band, ends, bins):
    """Append a triangle to the bins of its bands and advance the ends of these bins."""
    for b in range(bounds[t, TOP] >> band, (bounds[t, BOTTOM] >> band) + 1):
        bins[ends[b]] = t
        ends[b] += 1


@inline
def corner_bounds(screen, i, j, k):
    """The least and the greatest values of three rows of `screen`, as four lanes each."""
    one, other, third = (
        load(screen, np.intp(i) * 4, 4),
        load(screen, np.intp(j) * 4, 4),
        load(screen, np.intp(k) * 4, 4),
    )
    return minimum(minimum(one, other), third), maximum(maximum(one, other), third)


@inline
def select_near_centres(near, screen, triangles, last_column, last_row, chosen, facing):
    """Find the triangles whose bounds contain a pixel centre of the picture, and those that cross the near plane.

    In a small picture most triangles lie between pixel centres, and no branch can be predicted. So every triangle is
    written, and the next one overwrites it if it is not chosen.

    Args:
        near, screen, triangles: See `Scene`.
        last_column, last_row: The last pixel centres.
        chosen: (F + 1,) int32, written.
        facing: (F,) int8, written, see `Scene`.

    Returns:
        The number of triangles in `chosen`.
    """
    zero, flat = screen.dtype.type(0), screen.dtype.type(FLAT)
    count = 0
    for t in range(triangles.shape[0]):
        i, j, k = np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2])
        low, high = corner_bounds(screen, i, j, k)
        chosen[count] = t
        if lane(low, DEPTH) >= near:
            first, last = ceil(maximum(low, zero)), floor(high)
            hit = (lane(first, X) <= min(lane(last, X), last_column)) & (lane(first, Y) <= min(lane(last, Y), last_row))
            count += np.intp(hit)
            x, y = screen[i, X], screen[i, Y]
            area = (screen[j, X] - x) * (screen[k, Y] - y) - (screen[k, X] - x) * (screen[j, Y] - y)
            extent = flat * ((lane(high, X) - lane(low, X)) + (lane(high, Y) - lane(low, Y)))
            facing[t] = np.int8(area > extent) - np.int8(area < -extent)
        else:
            count += np.intp(lane(high, DEPTH) >= near)
            facing[t] = 0
    return count
