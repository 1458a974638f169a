"""Kernels that carry gradients from pictures back to the corners of triangles, to textures and backgrounds."""

from typing import Any

import warp as wp

from lipflow_render.warp.warp_geometry import SLIVER, ahead, homogeneous, inverse, relative
from lipflow_render.warp.warp_raster import look, texel


@wp.func
def add(
    gradient: wp.array4d(dtype=Any), units: wp.array4d(dtype=wp.int64), unit: wp.array1d(dtype=wp.float64),
    n: int, c: int, row: int, column: int, value: Any,
):  # fmt: skip
    """Add to a texel, in fixed point if there is a unit."""
    if unit.shape[0] > 0:
        wp.atomic_add(units, n, c, row, column, wp.int64(wp.rint(wp.float64(value) * unit[0])))
    else:
        wp.atomic_add(gradient, n, c, row, column, value)


def unshade(
    planes: wp.array3d(dtype=Any),
    texture: wp.array4d(dtype=Any),
    found: wp.array3d(dtype=wp.int32),
    image_gradient: wp.array4d(dtype=Any),
    lanes: int,
    slopes: wp.array4d(dtype=Any),
    unit: wp.array1d(dtype=wp.float64),
    texture_units: wp.array4d(dtype=wp.int64),
    texture_gradient: wp.array4d(dtype=Any),
    background_gradient: wp.array4d(dtype=Any),
):
    """Compute gradients of textures and backgrounds, and of the planes at each pixel; `lanes` threads per row.

    Args:
        planes, texture, found: See `warp_raster.shade`.
        image_gradient: (B, C, H, W).
        lanes: How many threads divide a row.
        slopes: (B, 3, H, W), gradients of the planes of 1/depth, u/depth and v/depth, written where covered; or none.
        unit: (1,) units per 1 of a fixed-point sum; or none for a floating-point sum.
        texture_units: (B or 1, C, Ht, Wt), added to if there is a unit; or none.
        texture_gradient: (B or 1, C, Ht, Wt), added to if there is no unit; or none.
        background_gradient: (B, C, H, W), written; or none.
    """
    b, row, lane = wp.tid()
    for column in range(lane, found.shape[2], lanes):
        t = found[b, row, column]
        if background_gradient.shape[0] > 0:
            for c in range(image_gradient.shape[1]):
                background_gradient[b, c, row, column] = wp.where(
                    t < 0, image_gradient[b, c, row, column], image_gradient.dtype(0.0)
                )
        if t < 0:
            continue
        u, v, depth = look(planes, b, t, row, column)
        left, share_u = texel(u, texture.shape[3])
        upper, share_v = texel(v, texture.shape[2])
        right, lower = wp.min(left + 1, texture.shape[3] - 1), wp.min(upper + 1, texture.shape[2] - 1)
        n = b % texture.shape[0]
        zero = planes.dtype(0.0)
        if texture_units.shape[0] > 0 or texture_gradient.shape[0] > 0:
            for c in range(image_gradient.shape[1]):
                g = image_gradient[b, c, row, column]
                below = g * share_v
                above = g - below
                above_right, below_right = above * share_u, below * share_u
                add(texture_gradient, texture_units, unit, n, c, upper, left, above - above_right)
                add(texture_gradient, texture_units, unit, n, c, upper, right, above_right)
                add(texture_gradient, texture_units, unit, n, c, lower, left, below - below_right)
                add(texture_gradient, texture_units, unit, n, c, lower, right, below_right)
        if slopes.shape[0] > 0:
            gu, gv = planes.dtype(0.0), planes.dtype(0.0)
            for c in range(image_gradient.shape[1]):
                g = image_gradient[b, c, row, column]
                p, q = texture[n, c, upper, left], texture[n, c, upper, right]
                r, s = texture[n, c, lower, left], texture[n, c, lower, right]
                twist = (s - r) - (q - p)
                gu += g * ((q - p) + share_v * twist)
                gv += g * ((r - p) + share_u * twist)
            # Beyond the outermost texel centres the texture is constant.
            if not (u >= zero and u <= planes.dtype(texture.shape[3] - 1)):
                gu = zero
            if not (v >= zero and v <= planes.dtype(texture.shape[2] - 1)):
                gv = zero
            gu *= depth
            gv *= depth
            slopes[b, 0, row, column] = -(gu * u + gv * v)
            slopes[b, 1, row, column] = gu
            slopes[b, 2, row, column] = gv


def to_corners(
    vertices: wp.array3d(dtype=Any),
    projection: wp.array3d(dtype=wp.float64),
    near: wp.float64,
    screen: wp.array3d(dtype=Any),
    triangles: wp.array2d(dtype=wp.int32),
    planes: wp.array3d(dtype=Any),
    bounds: wp.array2d(dtype=wp.vec4i),
    lanes: wp.vec2i,
    visible: wp.array2d(dtype=wp.int32),
    found: wp.array3d(dtype=wp.int32),
    slopes: wp.array4d(dtype=Any),
    corner_gradient: wp.array3d(dtype=wp.vec3d),
):
    """Sum the gradients of a triangle's planes over its pixels and carry them to its corners; a block per triangle.

    The derivative of the value that plane q = Σ aᵢ(H⁻¹)ᵢ has at a pixel, with respect to hᵢ, is -q Nᵢ. The threads of
    the block divide rows and columns and add in a fixed order: no atomics, the same bits every time.

    Args:
        vertices, projection, near, screen, triangles, planes, bounds: See `warp_geometry.set_up`.
        lanes: See `warp_raster.rasterise`.
        visible: (B, F), not 0 where a triangle is seen.
        found: (B, H, W).
        slopes: (B, 3, H, W) as `unshade` wrote them.
        corner_gradient: (B, F, 3) with respect to (X, Y, W), written where visible.
    """
    b, t, lane = wp.tid()
    mine = wp.vector(dtype=planes.dtype, length=9)
    seen = visible[b, t] != 0
    if seen:
        box = bounds[b, t]
        left = wp.where(box[0] < 0, -1 - box[0], box[0])
        for row in range(box[2] + lane // lanes[0], box[3] + 1, lanes[1]):
            y = planes.dtype(row) - planes[b, t, 10]
            for column in range(left + lane % lanes[0], box[1] + 1, lanes[0]):
                if found[b, row, column] == t:
                    x = planes.dtype(column) - planes[b, t, 9]
                    for n in range(3):
                        g = slopes[b, n, row, column]
                        mine[3 * n] += g * x
                        mine[3 * n + 1] += g * y
                        mine[3 * n + 2] += g
    sums = wp.tile_extract(wp.tile_sum(wp.tile(mine, preserve_type=True)), 0)
    if lane == 0 and seen:
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        column_0, row_0 = wp.float64(planes[b, t, 9]), wp.float64(planes[b, t, 10])
        n0, n1, n2, area = inverse(vertices, projection, near, screen, b, i, j, k, column_0, row_0)
        passes = wp.abs(area) >= SLIVER or not ahead(screen, near, b, i, j, k)
        normals = wp.matrix_from_rows(n0, n1, n2)
        for corner in range(3):
            total = wp.vec3d()
            for q in range(3):
                plane, moments = wp.vec3d(), wp.vec3d()
                for n in range(3):
                    plane[n] = wp.float64(planes[b, t, 3 * q + n])
                    moments[n] = wp.float64(sums[3 * q + n])
                total -= plane * wp.dot(normals[corner], moments)
            total[2] = total[2] - column_0 * total[0] - row_0 * total[1]
            if not (passes and wp.isfinite(total)):
                total = wp.vec3d()
            corner_gradient[b, t, corner] = total


def attributes_to_corners(
    vertices: wp.array3d(dtype=Any),
    projection: wp.array3d(dtype=wp.float64),
    near: wp.float64,
    screen: wp.array3d(dtype=Any),
    triangles: wp.array2d(dtype=wp.int32),
    bounds: wp.array2d(dtype=wp.vec4i),
    lanes: wp.vec2i,
    visible: wp.array2d(dtype=wp.int32),
    found: wp.array3d(dtype=wp.int32),
    depth_gradient: wp.array3d(dtype=Any),
    barycentric_gradient: wp.array4d(dtype=Any),
    corner_gradient: wp.array3d(dtype=wp.vec3d),
):
    """Sum the gradients of depth and corner weights over a triangle's pixels; a block per triangle.

    Args:
        vertices, projection, near, screen, triangles, bounds, lanes, visible, found, corner_gradient: As in
            `to_corners`.
        depth_gradient: (B, H, W), or none.
        barycentric_gradient: (B, 3, H, W), or none.
    """
    b, t, lane = wp.tid()
    mine = wp.vector(dtype=wp.float64, length=9)
    i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    seen = visible[b, t] != 0
    if seen:
        # Slivers pass no gradient.
        column_0, row_0 = wp.float64(0.0), wp.float64(0.0)
        _n0, _n1, _n2, area = inverse(vertices, projection, near, screen, b, i, j, k, column_0, row_0)
        seen = wp.abs(area) >= SLIVER or not ahead(screen, near, b, i, j, k)
    if seen:
        seen_0 = homogeneous(vertices, projection, b, i)
        seen_1 = homogeneous(vertices, projection, b, j)
        seen_2 = homogeneous(vertices, projection, b, k)
        depths = wp.vec3d(seen_0[2], seen_1[2], seen_2[2])
        box = bounds[b, t]
        left = wp.where(box[0] < 0, -1 - box[0], box[0])
        for row in range(box[2] + lane // lanes[0], box[3] + 1, lanes[1]):
            for column in range(left + lane % lanes[0], box[1] + 1, lanes[0]):
                if found[b, row, column] != t:
                    continue
                x, y = wp.float64(column), wp.float64(row)
                h0, h1, h2 = relative(seen_0, x, y), relative(seen_1, x, y), relative(seen_2, x, y)
                areas = wp.vec3d(
                    h1[0] * h2[1] - h2[0] * h1[1], h2[0] * h0[1] - h0[0] * h2[1], h0[0] * h1[1] - h1[0] * h0[1]
                )
                over = wp.float64(1.0) / (areas[0] + areas[1] + areas[2])
                weights = areas * over
                g, gz = wp.vec3d(), wp.float64(0.0)
                if barycentric_gradient.shape[0] > 0:
                    g = wp.vec3d(
                        wp.float64(barycentric_gradient[b, 0, row, column]),
                        wp.float64(barycentric_gradient[b, 1, row, column]),
                        wp.float64(barycentric_gradient[b, 2, row, column]),
                    )
                if depth_gradient.shape[0] > 0:
                    gz = wp.float64(depth_gradient[b, row, column])
                # depth = Σ bᵢwᵢ and bᵢ = uᵢ / Σu
                g = g + gz * depths
                mean = wp.dot(g, weights)
                g = (g - wp.vec3d(mean, mean, mean)) * over
                # u₀ = x₁ y₂ - x₂ y₁ and so on, x and y relative to the pixel
                gx = wp.vec3d(g[2] * h1[1] - g[1] * h2[1], g[0] * h2[1] - g[2] * h0[1], g[1] * h0[1] - g[0] * h1[1])
                gy = wp.vec3d(g[1] * h2[0] - g[2] * h1[0], g[2] * h0[0] - g[0] * h2[0], g[0] * h1[0] - g[1] * h0[0])
                gw = gz * weights - x * gx - y * gy
                for n in range(3):
                    mine[3 * n] += gx[n]
                    mine[3 * n + 1] += gy[n]
                    mine[3 * n + 2] += gw[n]
    sums = wp.tile_extract(wp.tile_sum(wp.tile(mine, preserve_type=True)), 0)
    if lane == 0 and visible[b, t] != 0:
        for m in range(3):
            corner_gradient[b, t, m] = wp.vec3d(sums[3 * m], sums[3 * m + 1], sums[3 * m + 2])
