"""Kernels that draw: which triangle each pixel sees, and what it looks like there."""

from __future__ import annotations

from lipflow_render.cpu.geometry import homogeneous
from lipflow_render.cpu.jit import inline, kernel


@inline
def edge_of(screen, triangles, t, corner):
    """The edge opposite a corner from its lower vertex to its higher one: x, y, dx, dy, and ±1 for its direction."""
    one, other = triangles[t, (corner + 1) % 3], triangles[t, (corner + 2) % 3]
    low, high = (one, other) if one < other else (other, one)
    x, y = screen[low, 0], screen[low, 1]
    return x, y, screen[high, 0] - x, screen[high, 1] - y, 1.0 if one < other else -1.0


@inline
def span(x, y, dx, dy, sign, row, left, right):
    """Shrink columns left … right of a row to those on the inner side of an edge.

    A pixel is inside where sign · (dx · (row - y) - dy · (column - x)) ≥ 0. The crossing is computed first and then
    corrected by that very test, which is monotonous in the column: triangles that share the edge agree to the bit.
    """
    base = dx * (row - y)
    slope = sign * dy
    if slope > 0:
        guess = x + base / dy
        last = right if guess >= right else (left - 1 if guess < left - 1 else int(guess) + 1)
        last = min(last, right)
        while last >= left and sign * (base - dy * (last - x)) < 0:
            last -= 1
        while last < right and sign * (base - dy * (last + 1 - x)) >= 0:
            last += 1
        return left, last
    if slope < 0:
        guess = x + base / dy
        first = left if guess <= left else (right + 1 if guess > right + 1 else int(guess))
        first = max(first, left)
        while first <= right and sign * (base - dy * (first - x)) < 0:
            first += 1
        while first > left and sign * (base - dy * (first - 1 - x)) >= 0:
            first -= 1
        return first, right
    if sign * base >= 0:
        return left, right
    return right + 1, right


@inline
def draw_ahead(t, screen, triangles, planes, bounds, first_row, last_row, depths, found):
    """Rasterise a triangle that lies wholly beyond the near plane into rows first_row … last_row."""
    facing = planes[t, 11]
    x0, y0, dx0, dy0, s0 = edge_of(screen, triangles, t, 0)
    x1, y1, dx1, dy1, s1 = edge_of(screen, triangles, t, 1)
    x2, y2, dx2, dy2, s2 = edge_of(screen, triangles, t, 2)
    s0, s1, s2 = s0 * facing, s1 * facing, s2 * facing
    slope, column = planes[t, 0], planes[t, 9]
    for row in range(max(bounds[t, 2], first_row), min(bounds[t, 3], last_row) + 1):
        left, right = span(x0, y0, dx0, dy0, s0, row, bounds[t, 0], bounds[t, 1])
        left, right = span(x1, y1, dx1, dy1, s1, row, left, right)
        left, right = span(x2, y2, dx2, dy2, s2, row, left, right)
        base = planes[t, 1] * (row - planes[t, 10]) + planes[t, 2]
        line = row - first_row
        for x in range(left, right + 1):
            near = base + slope * (x - column)
            if near > depths[line, x]:
                depths[line, x] = near
                found[row, x] = t


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
def draw_crossing(t, vertices, projection, near, screen, triangles, planes, bounds, first_row, last_row, depths, found):
    """The same for a triangle that crosses the near plane, pixel by pixel."""
    for row in range(max(bounds[t, 2], first_row), min(bounds[t, 3], last_row) + 1):
        line = row - first_row
        for x in range(-1 - bounds[t, 0], bounds[t, 1] + 1):
            value = planes[t, 0] * (x - planes[t, 9]) + planes[t, 1] * (row - planes[t, 10]) + planes[t, 2]
            if value <= depths[line, x] or value * near > 1:
                continue
            if inside_crossing(vertices, projection, screen, near, triangles, t, planes[t, 11], x, row):
                depths[line, x] = value
                found[row, x] = t


@kernel
def draw(
    vertices, projection, near, screen, triangles, planes, bounds, members, texture, background, rows, depths,
    image, coverage, found,
):  # fmt: skip
    """Draw one band of rows of one picture.

    Args:
        vertices, projection, near, screen, triangles, planes, bounds: As in `set_up`.
        members: (N,) int32 triangles that may hit the band, in increasing order.
        texture: (C, Ht, Wt).
        background: (C, H, W); or (0, 0, 0) for black.
        rows: First row of the band and the row after its last.
        depths: (rows, W) scratch for 1 / depth.
        image: (C, H, W), rows written.
        coverage: (H, W), rows written.
        found: (H, W) int32, rows written: the triangle at each pixel, -1 for none.
    """
    start, stop = rows
    depths[: stop - start] = 0
    found[start:stop] = -1
    for n in range(members.shape[0]):
        t = members[n]
        if bounds[t, 0] >= 0:
            draw_ahead(t, screen, triangles, planes, bounds, start, stop - 1, depths, found)
        else:
            draw_crossing(
                t, vertices, projection, near, screen, triangles, planes, bounds, start, stop - 1, depths, found
            )
    channels, height, width = texture.shape
    for row in range(start, stop):
        for x in range(found.shape[1]):
            t = found[row, x]
            if t < 0:
                coverage[row, x] = 0
                for c in range(channels):
                    image[c, row, x] = background[c, row, x] if background.shape[0] > 0 else 0
                continue
            coverage[row, x] = 1
            dx, dy = x - planes[t, 9], row - planes[t, 10]
            depth = 1 / (planes[t, 0] * dx + planes[t, 1] * dy + planes[t, 2])
            u = (planes[t, 3] * dx + planes[t, 4] * dy + planes[t, 5]) * depth
            v = (planes[t, 6] * dx + planes[t, 7] * dy + planes[t, 8]) * depth
            u, v = min(max(u, 0), width - 1), min(max(v, 0), height - 1)
            i, j = int(v), int(u)
            i1, j1 = min(i + 1, height - 1), min(j + 1, width - 1)
            fu, fv = u - j, v - i
            for c in range(channels):
                upper = texture[c, i, j] + fu * (texture[c, i, j1] - texture[c, i, j])
                lower = texture[c, i1, j] + fu * (texture[c, i1, j1] - texture[c, i1, j])
                image[c, row, x] = upper + fv * (lower - upper)


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
