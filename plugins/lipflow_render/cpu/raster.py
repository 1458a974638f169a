"""Kernels that draw: which triangle each pixel sees, and what it looks like there."""

from __future__ import annotations

import numpy as np

from lipflow_render.cpu.geometry import homogeneous
from lipflow_render.cpu.jit import inline, kernel

LANES = np.int32(8)
LAST = np.int32(2**31 - 1)


@inline
def edge_of(screen, one, other, facing):
    """The edge between two vertices from the lower one to the higher: x, y, dx, dy, and on which side inside lies."""
    low, high = (one, other) if one < other else (other, one)
    x, y = screen[low, 0], screen[low, 1]
    return x, y, screen[high, 0] - x, screen[high, 1] - y, facing if one < other else -facing


@inline
def key_of(screen, inverse, t):
    """One number to compare surfaces at a pixel by: 1 / depth first, then the triangle, lower indices being greater.

    1 / depth is taken in single precision; the bits of positive numbers sort like the numbers.
    """
    return (np.int64(np.float32(inverse).view(np.int32)) << 32) | np.int64(LAST - t)


@inline
def draw_ahead(t, screen, triangles, planes, bounds, first_row, last_row, keys):
    """Rasterise a triangle that lies wholly beyond the near plane into rows first_row … last_row.

    A pixel is inside an edge where sign · (dx · (row - y) - dy · (column - x)) ≥ 0. Every pixel of the triangle's
    bounds is tested: without branches the compiler makes eight tests of one.
    """
    real = screen.dtype.type
    zero, none = real(0), np.int64(0)
    i, j, k = np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2])
    facing = planes[t, 11]
    x0, y0, dx0, dy0, s0 = edge_of(screen, j, k, facing)
    x1, y1, dx1, dy1, s1 = edge_of(screen, k, i, facing)
    x2, y2, dx2, dy2, s2 = edge_of(screen, i, j, facing)
    slope, column = planes[t, 0], planes[t, 9]
    left = bounds[t, 0]
    length = (bounds[t, 1] - left + LANES) // LANES * LANES
    for row in range(max(bounds[t, 2], first_row), min(bounds[t, 3], last_row) + 1):
        height = real(row)
        e0, e1, e2 = dx0 * (height - y0), dx1 * (height - y1), dx2 * (height - y2)
        base = planes[t, 1] * (height - planes[t, 10]) + planes[t, 2]
        part = keys[row - first_row, left : left + length]
        for n in range(part.shape[0]):
            x = real(left + np.int32(n))
            inverse = base + slope * (x - column)
            inside = (
                (s0 * (e0 - dy0 * (x - x0)) >= zero)
                & (s1 * (e1 - dy1 * (x - x1)) >= zero)
                & (s2 * (e2 - dy2 * (x - x2)) >= zero)
                & (inverse > zero)
            )
            key = key_of(screen, inverse, t) if inside else none
            before = part[n]
            part[n] = key if key > before else before


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
            x0, y0, x1, y1 = x0 - column * w0, y0 - row * w0, x1 - column * w1, y1 - row * w1
            area = sign * (x0 * y1 - x1 * y0)
        if area < 0:
            return False
    return True


@inline
def draw_crossing(t, vertices, projection, near, screen, triangles, planes, bounds, first_row, last_row, keys):
    """The same for a triangle that crosses the near plane, pixel by pixel."""
    for row in range(max(bounds[t, 2], first_row), min(bounds[t, 3], last_row) + 1):
        line = row - first_row
        for x in range(-1 - bounds[t, 0], bounds[t, 1] + 1):
            value = planes[t, 0] * (x - planes[t, 9]) + planes[t, 1] * (row - planes[t, 10]) + planes[t, 2]
            if not value > 0 or value * near > 1 or key_of(screen, value, t) <= keys[line, x]:
                continue
            if inside_crossing(vertices, projection, screen, near, triangles, t, planes[t, 11], x, row):
                keys[line, x] = key_of(screen, value, t)


@inline
def end_of_run(found, start):
    """The column after the pixels from `start` on that show the same triangle."""
    t, end = found[start], start + 1
    while end < found.shape[0] and found[end] == t:
        end += 1
    return end


@inline
def end_of_cover(found, start):
    """The column after the pixels from `start` on that are covered, or uncovered, like it."""
    empty, end = found[start] < 0, start + 1
    while end < found.shape[0] and (found[end] < 0) == empty:
        end += 1
    return end


@inline
def locate(planes, found, texels, row, first, places, share_u, share_v):
    """Where in the texture covered pixels of a row look.

    Args:
        planes: (F, PLANE).
        found: (N,) the triangles of N pixels.
        texels: Width and height of the texture.
        row: The row.
        first: Column of the first of the pixels.
        places: (N,) int32, written: index of the upper left one of four texels.
        share_u, share_v: (N,) written: how far to the right and down from it, in [0, 1].
    """
    real = planes.dtype.type
    zero, one = real(0), real(1)
    last_u, last_v = real(texels[0] - 1), real(texels[1] - 1)
    most_u, most_v = np.int32(max(texels[0] - 2, 0)), np.int32(max(texels[1] - 2, 0))
    pitch = np.int32(texels[0])
    start = 0
    while start < found.shape[0]:
        t = np.uint32(found[start])
        end = end_of_run(found, start)
        dy = real(row) - planes[t, 10]
        d, nu, nv = planes[t, 0], planes[t, 3], planes[t, 6]
        d0, nu0 = planes[t, 1] * dy + planes[t, 2], planes[t, 4] * dy + planes[t, 5]
        nv0 = planes[t, 7] * dy + planes[t, 8]
        offset = real(first + start) - planes[t, 9]
        place, part_u, part_v = places[start:end], share_u[start:end], share_v[start:end]
        for n in range(end - start):
            dx = real(np.int32(n)) + offset
            depth = one / (d * dx + d0)
            u = min(max((nu * dx + nu0) * depth, zero), last_u)
            v = min(max((nv * dx + nv0) * depth, zero), last_v)
            i, j = min(np.int32(v), most_v), min(np.int32(u), most_u)
            part_u[n], part_v[n] = u - real(j), v - real(i)
            place[n] = i * pitch + j
        start = end


@inline
def sample(texture, channels, places, share_u, share_v, right, down, image):
    """Interpolate the texture between four texels.

    Args:
        texture: (C, Ht · Wt).
        channels: A tuple of length C: so the compiler knows C and unrolls.
        places, share_u, share_v: As `locate` wrote them.
        right, down: Distance from a texel to that on its right, and to that below.
        image: (C, N), written.
    """
    for n in range(image.shape[1]):
        p = np.uint32(places[n])
        fu, fv = share_u[n], share_v[n]
        for c in range(len(channels)):
            a, b = texture[c, p], texture[c, p + right]
            d, e = texture[c, p + down], texture[c, p + down + right]
            upper = a + fu * (b - a)
            lower = d + fu * (e - d)
            image[c, n] = upper + fv * (lower - upper)


@kernel
def draw(
    vertices, projection, near, screen, triangles, planes, bounds, members, texels, texture, channels, background, rows,
    keys, places, shares, image, coverage, found,
):  # fmt: skip
    """Draw one band of rows of one picture.

    Args:
        vertices, projection, near, screen, triangles, planes, bounds: As in `set_up`.
        members: (N,) int32 triangles that may hit the band, in increasing order.
        texels: Width and height of the texture.
        texture: (C, Ht · Wt).
        channels: A tuple of length C.
        background: (C, H, W); or (0, 0, 0) for black.
        rows: First row of the band and the row after its last.
        keys: (rows, ≥ W + LANES) int64 scratch.
        places: (W,) int32 scratch.
        shares: (2, W) scratch.
        image: (C, H, W), rows written.
        coverage: (H, W), rows written.
        found: (H, W) int32, rows written: the triangle at each pixel, -1 for none.
    """
    start, stop = rows
    real = screen.dtype.type
    zero, one = real(0), real(1)
    keys[: stop - start] = 0
    for n in range(members.shape[0]):
        t = np.uint32(members[n])
        if bounds[t, 0] >= 0:
            draw_ahead(t, screen, triangles, planes, bounds, start, stop - 1, keys)
        else:
            draw_crossing(t, vertices, projection, near, screen, triangles, planes, bounds, start, stop - 1, keys)
    width = found.shape[1]
    right, down = np.uint32(1 if texels[0] > 1 else 0), np.uint32(texels[0] if texels[1] > 1 else 0)
    for row in range(start, stop):
        line, key, covered = found[row], keys[row - start], coverage[row]
        for x in range(width):
            line[x] = LAST - np.int32(key[x] & LAST) if key[x] > 0 else np.int32(-1)
        for x in range(width):
            covered[x] = one if line[x] >= 0 else zero
        x = 0
        while x < width:
            end = end_of_cover(line, x)
            if line[x] < 0:
                for c in range(len(channels)):
                    if background.shape[0] > 0:
                        image[c, row, x:end] = background[c, row, x:end]
                    else:
                        image[c, row, x:end] = zero
            else:
                place, share_u, share_v = places[x:end], shares[0, x:end], shares[1, x:end]
                locate(planes, line[x:end], texels, row, x, place, share_u, share_v)
                sample(texture, channels, place, share_u, share_v, right, down, image[:, row, x:end])
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
            barycentric[0, row, x], barycentric[1, row, x], barycentric[2, row, x] = u0, u1, u2


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
