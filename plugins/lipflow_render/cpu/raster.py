"""Kernels that draw: which triangle each pixel sees, and what it looks like there."""

from __future__ import annotations

import numpy as np

from lipflow_core.compiled.jit import inline, inline_fused, kernel
from lipflow_core.compiled.lanes import lanes, leading, load, maximum, minimum, ramp, real_like, select, store, whole
from lipflow_render.cpu.geometry import homogeneous, set_up, transform

LANES = 8
"""Pixels computed at once. Rows of scratch are longer by as many: what falls beyond a row's end is not used."""


@kernel
def prepare(vertices, projection, near, screen, triangles, uv, texels, size, band, planes, bounds, starts):
    """Project the vertices of one sample and set up its triangles: see `geometry.transform` and `geometry.set_up`."""
    transform(vertices, projection, near, screen)
    return set_up(vertices, projection, near, screen, triangles, uv, texels, size, band, planes, bounds, starts)


@inline
def edge_of(screen, one, other, facing):
    """The edge between two vertices from the lower one to the higher: x, y, dx, dy, and on which side inside lies."""
    low, high = (one, other) if one < other else (other, one)
    x, y = screen[low, 0], screen[low, 1]
    return (x, y, screen[high, 0] - x, screen[high, 1] - y, facing if one < other else -facing)


@inline
def draw_ahead(t, screen, triangles, planes, bounds, first_row, last_row, nearness, seen):
    """Rasterise a triangle that lies wholly beyond the near plane into rows first_row … last_row.

    A pixel is inside an edge where sign · (dx · (row - y) - dy · (column - x)) ≥ 0. Every pixel of the triangle's
    bounds is tested. Triangles come in increasing order, so that of equally near ones the lowest stays.
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
    pitch, own = np.intp(nearness.shape[1]), lanes(np.int32(t), LANES)
    for row in range(max(bounds[t, 2], first_row), min(bounds[t, 3], last_row) + 1):
        height = real(np.int32(row))
        e0, e1, e2 = dx0 * (height - y0), dx1 * (height - y1), dx2 * (height - y2)
        base = planes[t, 1] * (height - planes[t, 10]) + planes[t, 2]
        line = (np.intp(row) - np.intp(first_row)) * pitch
        # Blocks start at multiples of LANES: what one triangle stored the next can load without waiting for it.
        for first in range(left // LANES * LANES, right + 1, LANES):
            x = ramp(real(np.int32(first)), LANES)
            inverse = (x - column) * slope + base
            before = load(nearness, line + first, LANES)
            hit = (
                (e0 - (x - x0) * dy0 >= zero)
                & (e1 - (x - x1) * dy1 >= zero)
                & (e2 - (x - x2) * dy2 >= zero)
                & (inverse > before)
            )
            store(nearness, line + first, select(hit, inverse, before))
            store(seen, line + first, select(hit, own, load(seen, line + first, LANES)))


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
            if not value > 0 or value * near > 1 or value <= nearness[line, x]:
                continue
            if inside_crossing(vertices, projection, screen, near, triangles, t, planes[t, 11], x, row):
                nearness[line, x] = value
                seen[line, x] = t


@inline
def end_of_cover(line, start, width):
    """The column after the pixels from `start` on that are covered, or uncovered, like it."""
    zero, end = np.int32(0), np.intp(start)
    while end < width:
        ids = load(line, end, LANES)
        same = leading(ids < zero) if line[start] < 0 else leading(ids >= zero)
        end += same
        if same < LANES:
            break
    return min(end, np.intp(width))


@inline_fused
def locate(planes, line, row, start, stop, texels, places, share_u, share_v):
    """Where in the texture covered pixels of a row look.

    Args:
        planes: (F, PLANE).
        line: (≥ W + LANES,) int32, the triangle at each pixel of the row.
        row: The row.
        start, stop: The first of the pixels, and the one after the last.
        texels: Width and height of the texture.
        places: (≥ W + LANES,) int32, written: index of the upper left one of four texels.
        share_u, share_v: (≥ W + LANES,) written: how far to the right and down from it, in [0, 1].
    """
    real = planes.dtype.type
    zero, one = real(0), real(1)
    last_u, last_v = real(texels[0] - 1), real(texels[1] - 1)
    most_u, most_v = np.int32(max(texels[0] - 2, 0)), np.int32(max(texels[1] - 2, 0))
    pitch = np.int32(texels[0])
    x = np.intp(start)
    while x < stop:
        t = np.uint32(line[x])
        dy = real(row) - planes[t, 10]
        dx = ramp(real(np.int32(x)) - planes[t, 9], LANES)
        depth = one / (dx * planes[t, 0] + (planes[t, 1] * dy + planes[t, 2]))
        u = (dx * planes[t, 3] + (planes[t, 4] * dy + planes[t, 5])) * depth
        v = (dx * planes[t, 6] + (planes[t, 7] * dy + planes[t, 8])) * depth
        u, v = minimum(maximum(u, zero), last_u), minimum(maximum(v, zero), last_v)
        column, rank = minimum(whole(u), most_u), minimum(whole(v), most_v)
        store(places, x, rank * pitch + column)
        store(share_u, x, u - real_like(column, u))
        store(share_v, x, v - real_like(rank, v))
        # Beyond this triangle's pixels the next one overwrites.
        x += leading(load(line, x, LANES) == np.int32(t))


@inline_fused
def sample(texture, channels, texels, places, share_u, share_v, start, stop, image, row):
    """Interpolate the texture between four texels.

    Args:
        texture: (C, Ht · Wt), Wt > 1.
        channels: A tuple of length C: so the compiler knows C and unrolls.
        texels: Width and height of the texture.
        places, share_u, share_v, start, stop: As in `locate`.
        image: (C, H, W), written.
        row: The row of the picture.
    """
    right, down = np.uint32(1), np.uint32(texels[0] if texels[1] > 1 else 0)
    for x in range(start, stop):
        p = np.uint32(places[x])
        fu, fv = share_u[x], share_v[x]
        for c in range(len(channels)):
            a, b = texture[c, p], texture[c, p + right]
            d, e = texture[c, p + down], texture[c, p + down + right]
            upper = a + fu * (b - a)
            lower = d + fu * (e - d)
            image[c, row, x] = upper + fv * (lower - upper)


@kernel
def draw(
    vertices, projection, near, screen, triangles, planes, bounds, bins, starts, band, bands, texels, texture, channels,
    background, image, found,
):  # fmt: skip
    """Draw bands of rows of one picture.

    Args:
        vertices, projection, near, screen, triangles, planes, bounds, starts, band: As in `geometry.set_up`.
        bins: As `geometry.set_up` returned them.
        bands: The first band and the one after the last.
        texels: Width and height of the texture.
        texture: (C, Ht · Wt).
        channels: A tuple of length C.
        background: (C, H, W); or (0, 0, 0) for black.
        image: (C, H, W), rows written.
        found: (H, W) int32, rows written: the triangle at each pixel, -1 for none.
    """
    real = screen.dtype.type
    height, width = found.shape
    nearness = np.empty((band, width + LANES), screen.dtype)
    seen = np.empty((band, width + LANES), np.int32)
    places = np.empty(width + LANES, np.int32)
    share_u, share_v = np.empty(width + LANES, screen.dtype), np.empty(width + LANES, screen.dtype)
    for n in range(bands[0], bands[1]):
        first_row, last_row = n * band, min(height, (n + 1) * band) - 1
        nearness[:] = 0
        seen[:] = -1
        for m in range(starts[n], starts[n + 1]):
            t = np.uint32(bins[m])
            if bounds[t, 0] >= 0:
                draw_ahead(t, screen, triangles, planes, bounds, first_row, last_row, nearness, seen)
            else:
                draw_crossing(
                    t, vertices, projection, near, screen, triangles, planes, bounds, first_row, last_row,
                    nearness, seen,
                )  # fmt: skip
        for row in range(first_row, last_row + 1):
            line = seen[row - first_row]
            found[row] = line[:width]
            x = 0
            while x < width:
                end = end_of_cover(line, x, width)
                if line[x] < 0:
                    for c in range(len(channels)):
                        if background.shape[0] > 0:
                            image[c, row, x:end] = background[c, row, x:end]
                        else:
                            image[c, row, x:end] = real(0)
                else:
                    locate(planes, line, row, x, end, texels, places, share_u, share_v)
                    sample(texture, channels, texels, places, share_u, share_v, x, end, image, row)
                x = end


@kernel
def attributes(vertices, projection, triangles, found, depth, barycentric):
    """Depth and perspective-correct corner weights of one picture.

    Args:
        vertices, projection, triangles: As in `set_up`.
        found: (H, W) int32.
        depth: (H, W), written.
        barycentric: (3, H, W), written.
    """
    for row in range(found.shape[0]):
        for x in range(found.shape[1]):
            t = found[row, x]
            if t < 0:
                depth[row, x] = 0
                for n in range(3):
                    barycentric[n, row, x] = 0
                continue
            u0, u1, u2, z = weights(vertices, projection, triangles, t, x, row)
            depth[row, x] = z
            barycentric[0, row, x], barycentric[1, row, x], barycentric[2, row, x] = (u0, u1, u2)


@inline
def weights(vertices, projection, triangles, t, column, row):
    """Corner weights and depth of a triangle at a pixel, in float64."""
    i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
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
    u0, u1, u2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
    over = 1 / (u0 + u1 + u2)
    u0, u1, u2 = u0 * over, u1 * over, u2 * over
    return u0, u1, u2, u0 * w0 + u1 * w1 + u2 * w2
