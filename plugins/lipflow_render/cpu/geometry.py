"""Kernels from vertices to triangles ready to be drawn.

A vertex seen at h = (X, Y, W) in homogeneous pixels has the row (X/W, Y/W, 1/W, W) in `screen`. With H = [h₀ h₁ h₂]
the rows of H⁻¹ are planes over the picture: Nᵢ(p, q) = (H⁻¹)ᵢ·(p, q, 1) = bᵢ / depth, bᵢ being the corner's
perspective-correct weight. Whatever has corner values a is therefore the quotient of the planes Σ aᵢNᵢ and Σ Nᵢ.
Planes are kept relative to an integer pixel within the triangle's bounds, so that float32 does not cancel.
"""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline
from lipflow_kit.compiled.lanes import ceil, floor, joined, lane, maximum, minimum
from lipflow_kit.compiled.memory import load, store

DEGENERATE = 1e-12
FLAT = 1e-3
"""Triangles no higher than this (in pixels) over their longest edge may be folded along any of them."""
CORNER = 10
"""Numbers per triangle of a texture's size: u and v of each corner in texels, their least and their greatest within the
texture (u, u, v, v)."""
PLANE = 16
"""Numbers kept per triangle: three planes (1/depth, u/depth, v/depth), the pixel that they are relative to, which way
it faces, and the least and the greatest u and v that it looks at, in texels."""


@inline
def transform(vertices, projection, near, screen):
    """Project the vertices of one sample.

    Args:
        vertices: (V, 3).
        projection: (3, 4) float64.
        near: Depth of the near plane.
        screen: (V, 4), written; x and y of vertices nearer than `near` mean nothing.
    """
    p = projection
    for v in range(vertices.shape[0]):
        a, b, c = (np.float64(vertices[v, 0]), np.float64(vertices[v, 1]), np.float64(vertices[v, 2]))
        x = p[0, 0] * a + p[0, 1] * b + p[0, 2] * c + p[0, 3]
        y = p[1, 0] * a + p[1, 1] * b + p[1, 2] * c + p[1, 3]
        w = p[2, 0] * a + p[2, 1] * b + p[2, 2] * c + p[2, 3]
        inverse = 1.0 / (w if w >= near else 1.0)
        screen[v, 0] = x * inverse
        screen[v, 1] = y * inverse
        screen[v, 2] = inverse
        screen[v, 3] = w


@inline
def homogeneous(vertices, projection, v):
    """(X, Y, W) of one vertex in float64."""
    p = projection
    a, b, c = (np.float64(vertices[v, 0]), np.float64(vertices[v, 1]), np.float64(vertices[v, 2]))
    return (
        p[0, 0] * a + p[0, 1] * b + p[0, 2] * c + p[0, 3],
        p[1, 0] * a + p[1, 1] * b + p[1, 2] * c + p[1, 3],
        p[2, 0] * a + p[2, 1] * b + p[2, 2] * c + p[2, 3],
    )


@inline
def inverse_ahead(screen, i, j, k, column, row):
    """H⁻¹ row by row, relative to pixel (column, row), for a triangle wholly beyond the near plane; and 2·area."""
    x0, y0 = screen[i, 0] - column, screen[i, 1] - row
    x1, y1 = screen[j, 0] - column, screen[j, 1] - row
    x2, y2 = screen[k, 0] - column, screen[k, 1] - row
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    over = screen.dtype.type(1) / area
    s0, s1, s2 = screen[i, 2] * over, screen[j, 2] * over, screen[k, 2] * over
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
    """The same for a triangle that crosses the near plane, in float64; and det H."""
    x0, y0, w0 = homogeneous(vertices, projection, i)
    x1, y1, w1 = homogeneous(vertices, projection, j)
    x2, y2, w2 = homogeneous(vertices, projection, k)
    x0, y0, x1, y1, x2, y2 = (
        x0 - column * w0,
        y0 - row * w0,
        x1 - column * w1,
        y1 - row * w1,
        x2 - column * w2,
        y2 - row * w2,
    )
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
def set_up(vertices, projection, near, screen, triangles, corners, size, band, planes, bounds, facing, starts):
    """Planes and bounds of the triangles that may hit a pixel centre, sorted into bands of rows.

    Args:
        vertices: (V, 3).
        projection: (3, 4) float64.
        near: Depth of the near plane.
        screen: (V, 4).
        triangles: (F, 3) int32.
        corners: (F, CORNER), see `CORNER`.
        size: Width and height of the picture.
        band: Logarithm to the base 2 of the rows per band: to divide by any number takes long.
        planes: (F, PLANE), written for triangles in bins.
        bounds: (F, 4) int32, written for triangles in bins: left, right, top, bottom. Triangles that cross the near
            plane have -1 - left for left.
        facing: (F,) int8, written: which way each triangle of the mesh faces, 1 or -1; 0 if that is not certain.
        starts: (bands + 1,) int64, written: where each band begins in bins.

    Returns:
        bins: (N,) int32, triangles of all bands in turn: in each those that face the camera, which hide others, and
            then the rest, both in increasing order.
    """
    real = screen.dtype.type
    zero, one = real(0), real(1)
    last_column, last_row = real(size[0] - 1), real(size[1] - 1)
    band = np.int32(band)
    live, turned = np.empty(triangles.shape[0] + 1, np.int32), np.empty(triangles.shape[0] + 1, np.int32)
    candidates = select_near_centres(near, screen, triangles, last_column, last_row, live, facing)
    count, turned_count = 0, 0
    starts[:] = 0
    for n in range(candidates):
        t = np.uint32(live[n])
        i, j, k = (np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2]))
        crossing = not (screen[i, 3] >= near and screen[j, 3] >= near and screen[k, 3] >= near)
        if crossing:
            left_, right_, top_, bottom_ = clipped_bounds(vertices, projection, near, i, j, k)
            x_low, x_high = real(left_) - one, real(right_) + one
            y_low, y_high = real(top_) - one, real(bottom_) + one
            if not (x_high >= zero and y_high >= zero and x_low <= last_column and y_low <= last_row):
                continue
        else:
            low, high = corner_bounds(screen, i, j, k)
            x_low, x_high, y_low, y_high = (lane(low, 0), lane(high, 0), lane(low, 1), lane(high, 1))
        left, right = (np.int32(np.ceil(max(x_low, zero))), np.int32(min(x_high, last_column)))
        top, bottom = (np.int32(np.ceil(max(y_low, zero))), np.int32(min(y_high, last_row)))
        if left > right or top > bottom:
            continue
        column, row = real(left), real(top)
        if crossing:
            a0, b0, c0, a1, b1, c1, a2, b2, c2, area = inverse_crossing(
                vertices, projection, i, j, k, np.float64(left), np.float64(top)
            )
            a0, b0, c0, a1, b1, c1 = (real(a0), real(b0), real(c0), real(a1), real(b1), real(c1))
            a2, b2, c2 = real(a2), real(b2), real(c2)
        else:
            a0, b0, c0, a1, b1, c1, a2, b2, c2, area = inverse_ahead(screen, i, j, k, column, row)
        if not abs(area) > DEGENERATE:
            continue
        first, second, third = joined((a0, b0, c0, zero)), joined((a1, b1, c1, zero)), joined((a2, b2, c2, zero))
        place = np.intp(t) * PLANE
        # The fourth of each is overwritten.
        store(planes, place, first + second + third)
        for axis in range(2):
            store(
                planes,
                place + 3 * (axis + 1),
                first * corners[t, axis] + second * corners[t, 2 + axis] + third * corners[t, 4 + axis],
            )
        planes[t, 9], planes[t, 10], planes[t, 11] = column, row, (one if area > 0 else -one)
        store(planes, place + 12, load(corners, np.intp(t) * CORNER + 6, 4))
        bounds[t, 0], bounds[t, 1], bounds[t, 2], bounds[t, 3] = (-1 - left if crossing else left, right, top, bottom)
        # A triangle is counter-clockwise seen from outside, and rows go down: those of negative area face the camera.
        # Which do is hard to predict, so that each is written to both lists and stays in one.
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
    """Append a triangle to the bins of its bands, whose ends are given and move."""
    for b in range(bounds[t, 2] >> band, (bounds[t, 3] >> band) + 1):
        bins[ends[b]] = t
        ends[b] += 1


@inline
def corner_bounds(screen, i, j, k):
    """The least and the greatest (x, y, 1 / depth, depth) of three vertices."""
    one, other, third = (
        load(screen, np.intp(i) * 4, 4),
        load(screen, np.intp(j) * 4, 4),
        load(screen, np.intp(k) * 4, 4),
    )
    return minimum(minimum(one, other), third), maximum(maximum(one, other), third)


@inline
def select_near_centres(near, screen, triangles, last_column, last_row, chosen, facing):
    """Find the triangles whose bounds hold a pixel centre of the picture, and those that cross the near plane.

    In a small picture most triangles lie between pixel centres; which of them do nobody could predict, so that every
    triangle is written and the next takes its place if it is of no use.

    Args:
        near, screen, triangles: As in `set_up`.
        last_column, last_row: The last pixel centres.
        chosen: (F + 1,) int32, written.
        facing: (F,) int8, written.

    Returns:
        How many there are.
    """
    zero, flat = screen.dtype.type(0), screen.dtype.type(FLAT)
    count = 0
    for t in range(triangles.shape[0]):
        i, j, k = (np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2]))
        low, high = corner_bounds(screen, i, j, k)
        chosen[count] = t
        if lane(low, 3) >= near:
            first, last = ceil(maximum(low, zero)), floor(high)
            hit = (lane(first, 0) <= min(lane(last, 0), last_column)) & (lane(first, 1) <= min(lane(last, 1), last_row))
            count += np.intp(hit)
            x, y = screen[i, 0], screen[i, 1]
            area = (screen[j, 0] - x) * (screen[k, 1] - y) - (screen[k, 0] - x) * (screen[j, 1] - y)
            extent = flat * ((lane(high, 0) - lane(low, 0)) + (lane(high, 1) - lane(low, 1)))
            facing[t] = np.int8(area > extent) - np.int8(area < -extent)
        else:
            count += np.intp(lane(high, 3) >= near)
            facing[t] = 0
    return count
