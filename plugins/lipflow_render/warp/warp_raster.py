"""Kernels that draw: which triangle each pixel sees, and its colour."""

from typing import Any

import warp as wp

from lipflow_render.warp.warp_geometry import homogeneous, relative

LAST = wp.constant(wp.int64(2**31 - 1))


@wp.func
def key_of(inverse: Any, t: int) -> wp.int64:
    """A number that is greater for the nearer surface at a pixel, and of equally near ones for the lower triangle.

    The upper half is 1 / depth in single precision: the bits of positive numbers sort like the numbers.
    """
    bits = wp.cast(wp.float32(inverse), wp.int32)
    return (wp.int64(bits) << wp.int64(32)) | (LAST - wp.int64(t))


@wp.func
def side(x: Any, y: Any, dx: Any, dy: Any, column: Any, row: Any):
    """The side of the edge from (x, y) along (dx, dy) on which a pixel lies, as a signed area."""
    return dx * (row - y) - dy * (column - x)


@wp.func
def inside(
    vertices: wp.array3d(dtype=Any), projection: wp.array3d(dtype=wp.float64), near: wp.float64,
    screen: wp.array3d(dtype=Any), b: int, one: int, other: int, facing: Any, column: int, row: int,
) -> bool:  # fmt: skip
    """Whether a pixel is inside an edge of a triangle that crosses the near plane.

    An edge wholly beyond the near plane is tested as in `rasterise`, since an ordinary triangle may share it.
    """
    low, high = wp.min(one, other), wp.max(one, other)
    sign = type(facing)(wp.where(one < other, 1, -1)) * facing
    least = screen.dtype(near)
    if screen[b, low, 3] >= least and screen[b, high, 3] >= least:
        x, y = screen[b, low, 0], screen[b, low, 1]
        dx, dy = screen[b, high, 0] - x, screen[b, high, 1] - y
        return sign * side(x, y, dx, dy, screen.dtype(column), screen.dtype(row)) >= screen.dtype(0.0)
    h0 = relative(homogeneous(vertices, projection, b, low), wp.float64(column), wp.float64(row))
    h1 = relative(homogeneous(vertices, projection, b, high), wp.float64(column), wp.float64(row))
    return wp.float64(sign) * (h0[0] * h1[1] - h1[0] * h0[1]) >= wp.float64(0.0)


def rasterise(
    vertices: wp.array3d(dtype=Any),
    projection: wp.array3d(dtype=wp.float64),
    near: wp.float64,
    screen: wp.array3d(dtype=Any),
    triangles: wp.array2d(dtype=wp.int32),
    planes: wp.array3d(dtype=Any),
    bounds: wp.array2d(dtype=wp.vec4i),
    lanes: wp.vec2i,
    keys: wp.array3d(dtype=wp.int64),
):
    """Find the nearest surface at each pixel; the threads of a triangle divide its rows and columns.

    The greatest key wins in any order of the threads, so the picture is the same to the bit every time.

    Args:
        vertices, projection, near, screen, triangles, planes, bounds: See `warp_geometry.set_up`.
        lanes: How many threads divide a triangle's columns, and how many its rows.
        keys: (B, H, W), zeros; becomes `key_of` the nearest surface.
    """
    b, t, lane = wp.tid()
    box = bounds[b, t]
    left = wp.where(box[0] < 0, -1 - box[0], box[0])
    if box[1] < left:
        return
    crossing = box[0] < 0
    i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    zero, positive, negative = planes.dtype(0.0), planes.dtype(1.0), planes.dtype(-1.0)
    a, c, d = planes[b, t, 0], planes[b, t, 1], planes[b, t, 2]
    origin_x, origin_y, facing = planes[b, t, 9], planes[b, t, 10], planes[b, t, 11]
    first_row, first_column = box[2] + lane // lanes[0], left + lane % lanes[0]
    if crossing:
        least = planes.dtype(near)
        for row in range(first_row, box[3] + 1, lanes[1]):
            for column in range(first_column, box[1] + 1, lanes[0]):
                value = a * (planes.dtype(column) - origin_x) + c * (planes.dtype(row) - origin_y) + d
                if value > zero and value * least <= positive:
                    key = key_of(value, t)
                    if (
                        key > keys[b, row, column]
                        and inside(vertices, projection, near, screen, b, j, k, facing, column, row)
                        and inside(vertices, projection, near, screen, b, k, i, facing, column, row)
                        and inside(vertices, projection, near, screen, b, i, j, facing, column, row)
                    ):
                        wp.atomic_max(keys, b, row, column, key)
        return
    # Edges run from the lower vertex to the higher one, so that both their triangles get the same number.
    low0, high0, s0 = wp.min(j, k), wp.max(j, k), facing * wp.where(j < k, positive, negative)
    low1, high1, s1 = wp.min(k, i), wp.max(k, i), facing * wp.where(k < i, positive, negative)
    low2, high2, s2 = wp.min(i, j), wp.max(i, j), facing * wp.where(i < j, positive, negative)
    x0, y0, x1, y1 = screen[b, low0, 0], screen[b, low0, 1], screen[b, low1, 0], screen[b, low1, 1]
    x2, y2 = screen[b, low2, 0], screen[b, low2, 1]
    dx0, dy0 = screen[b, high0, 0] - x0, screen[b, high0, 1] - y0
    dx1, dy1 = screen[b, high1, 0] - x1, screen[b, high1, 1] - y1
    dx2, dy2 = screen[b, high2, 0] - x2, screen[b, high2, 1] - y2
    for row in range(first_row, box[3] + 1, lanes[1]):
        y = planes.dtype(row)
        base = c * (y - origin_y) + d
        for column in range(first_column, box[1] + 1, lanes[0]):
            x = planes.dtype(column)
            if (
                s0 * side(x0, y0, dx0, dy0, x, y) >= zero
                and s1 * side(x1, y1, dx1, dy1, x, y) >= zero
                and s2 * side(x2, y2, dx2, dy2, x, y) >= zero
            ):
                value = a * (x - origin_x) + base
                if value > zero:
                    key = key_of(value, t)
                    if key > keys[b, row, column]:
                        wp.atomic_max(keys, b, row, column, key)


@wp.func
def look(planes: wp.array3d(dtype=Any), b: int, t: int, row: int, column: int):
    """Texture coordinates u and v of a triangle at a pixel, in texels, unclamped; and its depth."""
    x, y = planes.dtype(column) - planes[b, t, 9], planes.dtype(row) - planes[b, t, 10]
    depth = planes.dtype(1.0) / (planes[b, t, 0] * x + (planes[b, t, 1] * y + planes[b, t, 2]))
    u = (planes[b, t, 3] * x + (planes[b, t, 4] * y + planes[b, t, 5])) * depth
    v = (planes[b, t, 6] * x + (planes[b, t, 7] * y + planes[b, t, 8])) * depth
    return u, v, depth


@wp.func
def texel(place: Any, count: int):
    """Index of the lower of the two texels around a place, and the fraction of the upper one."""
    inner = wp.min(wp.max(place, type(place)(0.0)), type(place)(count - 1))
    index = wp.max(wp.min(int(inner), count - 2), 0)
    return index, inner - type(place)(index)


def shade(
    planes: wp.array3d(dtype=Any),
    texture: wp.array4d(dtype=Any),
    background: wp.array4d(dtype=Any),
    keys: wp.array3d(dtype=wp.int64),
    lanes: int,
    image: wp.array4d(dtype=Any),
    coverage: wp.array3d(dtype=Any),
    found: wp.array3d(dtype=wp.int32),
    visible: wp.array2d(dtype=wp.int32),
):
    """Interpolate the texture where a triangle was found; `lanes` threads per row.

    Args:
        planes: (B, F, PLANE).
        texture: (B or 1, C, Ht, Wt).
        background: (B or 1, C, H, W), or none for black.
        keys: (B, H, W) as `rasterise` wrote them.
        lanes: How many threads divide a row.
        image: (B, C, H, W), written.
        coverage: (B, H, W), written.
        found: (B, H, W), written: the triangle at each pixel, -1 for none.
        visible: (B, F), becomes 1 where a triangle is seen.
    """
    b, row, lane = wp.tid()
    for column in range(lane, found.shape[2], lanes):
        key = keys[b, row, column]
        if key == wp.int64(0):
            found[b, row, column] = -1
            coverage[b, row, column] = coverage.dtype(0.0)
            for c in range(image.shape[1]):
                if background.shape[0] > 0:
                    image[b, c, row, column] = background[b % background.shape[0], c, row, column]
                else:
                    image[b, c, row, column] = image.dtype(0.0)
            continue
        t = int(LAST - (key & LAST))
        found[b, row, column] = t
        coverage[b, row, column] = coverage.dtype(1.0)
        visible[b, t] = 1
        u, v, _depth = look(planes, b, t, row, column)
        left, share_u = texel(u, texture.shape[3])
        upper, share_v = texel(v, texture.shape[2])
        right, lower = wp.min(left + 1, texture.shape[3] - 1), wp.min(upper + 1, texture.shape[2] - 1)
        n = b % texture.shape[0]
        for c in range(image.shape[1]):
            p, q = texture[n, c, upper, left], texture[n, c, upper, right]
            r, s = texture[n, c, lower, left], texture[n, c, lower, right]
            above, below = p + share_u * (q - p), r + share_u * (s - r)
            image[b, c, row, column] = above + share_v * (below - above)


def attributes(
    vertices: wp.array3d(dtype=Any),
    projection: wp.array3d(dtype=wp.float64),
    triangles: wp.array2d(dtype=wp.int32),
    found: wp.array3d(dtype=wp.int32),
    lanes: int,
    depth: wp.array3d(dtype=Any),
    barycentric: wp.array4d(dtype=Any),
):
    """Depth and perspective-correct corner weights; `lanes` threads per row.

    Args:
        vertices, projection, triangles: See `warp_geometry.set_up`.
        found: (B, H, W).
        lanes: How many threads divide a row.
        depth: (B, H, W), written.
        barycentric: (B, 3, H, W), written.
    """
    b, row, lane = wp.tid()
    for column in range(lane, found.shape[2], lanes):
        t = found[b, row, column]
        weights, z = wp.vec3d(), wp.float64(0.0)
        if t >= 0:
            x, y = wp.float64(column), wp.float64(row)
            h0 = relative(homogeneous(vertices, projection, b, triangles[t, 0]), x, y)
            h1 = relative(homogeneous(vertices, projection, b, triangles[t, 1]), x, y)
            h2 = relative(homogeneous(vertices, projection, b, triangles[t, 2]), x, y)
            u0, u1, u2 = h1[0] * h2[1] - h2[0] * h1[1], h2[0] * h0[1] - h0[0] * h2[1], h0[0] * h1[1] - h1[0] * h0[1]
            weights = wp.vec3d(u0, u1, u2) / (u0 + u1 + u2)
            z = wp.dot(weights, wp.vec3d(h0[2], h1[2], h2[2]))
        depth[b, row, column] = depth.dtype(z)
        for n in range(3):
            barycentric[b, n, row, column] = barycentric.dtype(weights[n])
