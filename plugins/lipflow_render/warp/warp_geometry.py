"""Kernels from vertices to triangles that are ready to be rasterised, for a whole batch.

A vertex at h = (X, Y, W) in homogeneous pixel coordinates has the row (X/W, Y/W, 1/W, W) in `screen`. With
H = [h₀ h₁ h₂] the rows of H⁻¹ are planes over the picture: Nᵢ(p, q) = (H⁻¹)ᵢ·(p, q, 1) = bᵢ / depth, where bᵢ is the
perspective-correct weight of corner i. An attribute with corner values a is the quotient of the planes Σ aᵢNᵢ and Σ Nᵢ.
Planes are stored relative to a pixel within the triangle's bounds, so that float32 does not cancel.

Warp reads the annotations here: `Any` stands for the precision of the pictures, see `build.py`.
"""

from typing import Any

import warp as wp

from lipflow_render import definition

SLIVER = wp.constant(wp.float64(definition.SLIVER))
DEGENERATE = wp.constant(wp.float64(1e-12))
PLANE = 12
"""Numbers per triangle: three planes (1/depth, u/depth, v/depth), the pixel that they are relative to, and the sign of
the triangle's area."""

EMPTY = wp.constant(wp.vec4i(0, -1, 0, -1))


@wp.func
def homogeneous(vertices: wp.array3d(dtype=Any), projection: wp.array3d(dtype=wp.float64), b: int, v: int) -> wp.vec3d:
    """(X, Y, W) of one vertex."""
    n = b % projection.shape[0]
    x, y, z = wp.float64(vertices[b, v, 0]), wp.float64(vertices[b, v, 1]), wp.float64(vertices[b, v, 2])
    return wp.vec3d(
        projection[n, 0, 0] * x + projection[n, 0, 1] * y + projection[n, 0, 2] * z + projection[n, 0, 3],
        projection[n, 1, 0] * x + projection[n, 1, 1] * y + projection[n, 1, 2] * z + projection[n, 1, 3],
        projection[n, 2, 0] * x + projection[n, 2, 1] * y + projection[n, 2, 2] * z + projection[n, 2, 3],
    )


@wp.func
def relative(h: wp.vec3d, column: wp.float64, row: wp.float64) -> wp.vec3d:
    """Homogeneous coordinates with a pixel as origin."""
    return wp.vec3d(h[0] - column * h[2], h[1] - row * h[2], h[2])


@wp.func
def ahead(screen: wp.array3d(dtype=Any), near: wp.float64, b: int, i: int, j: int, k: int) -> bool:
    """Whether three vertices lie beyond the near plane."""
    least = screen.dtype(near)
    return screen[b, i, 3] >= least and screen[b, j, 3] >= least and screen[b, k, 3] >= least


@wp.func
def inverse(
    vertices: wp.array3d(dtype=Any), projection: wp.array3d(dtype=wp.float64), near: wp.float64,
    screen: wp.array3d(dtype=Any), b: int, i: int, j: int, k: int, column: wp.float64, row: wp.float64,
):  # fmt: skip
    """Rows of H⁻¹ relative to a pixel; and twice the triangle's area, or det H if it crosses the near plane.

    A triangle wholly beyond the near plane is computed from its rounded pixel coordinates, as its edges are tested.
    """
    if ahead(screen, near, b, i, j, k):
        x0, y0 = wp.float64(screen[b, i, 0]) - column, wp.float64(screen[b, i, 1]) - row
        x1, y1 = wp.float64(screen[b, j, 0]) - column, wp.float64(screen[b, j, 1]) - row
        x2, y2 = wp.float64(screen[b, k, 0]) - column, wp.float64(screen[b, k, 1]) - row
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        s0 = wp.float64(screen[b, i, 2]) / area
        s1 = wp.float64(screen[b, j, 2]) / area
        s2 = wp.float64(screen[b, k, 2]) / area
        return (
            wp.vec3d((y1 - y2) * s0, (x2 - x1) * s0, (x1 * y2 - x2 * y1) * s0),
            wp.vec3d((y2 - y0) * s1, (x0 - x2) * s1, (x2 * y0 - x0 * y2) * s1),
            wp.vec3d((y0 - y1) * s2, (x1 - x0) * s2, (x0 * y1 - x1 * y0) * s2),
            area,
        )
    h0 = relative(homogeneous(vertices, projection, b, i), column, row)
    h1 = relative(homogeneous(vertices, projection, b, j), column, row)
    h2 = relative(homogeneous(vertices, projection, b, k), column, row)
    determinant = wp.dot(h0, wp.cross(h1, h2))
    over = wp.float64(1.0) / determinant
    return over * wp.cross(h1, h2), over * wp.cross(h2, h0), over * wp.cross(h0, h1), determinant


@wp.func
def clipped_bounds(
    vertices: wp.array3d(dtype=Any), projection: wp.array3d(dtype=wp.float64), near: wp.float64, b: int,
    corners: wp.vec3i,
) -> wp.vec4d:  # fmt: skip
    """(left, right, top, bottom) of the part of a triangle beyond the near plane."""
    left, right, top, bottom = wp.float64(wp.inf), wp.float64(-wp.inf), wp.float64(wp.inf), wp.float64(-wp.inf)
    for n in range(3):
        h = homogeneous(vertices, projection, b, corners[n])
        onward = homogeneous(vertices, projection, b, corners[(n + 1) % 3])
        if h[2] >= near:
            left, right = wp.min(left, h[0] / h[2]), wp.max(right, h[0] / h[2])
            top, bottom = wp.min(top, h[1] / h[2]), wp.max(bottom, h[1] / h[2])
        if (h[2] >= near) != (onward[2] >= near):
            cut = h + (near - h[2]) / (onward[2] - h[2]) * (onward - h)
            left, right = wp.min(left, cut[0] / near), wp.max(right, cut[0] / near)
            top, bottom = wp.min(top, cut[1] / near), wp.max(bottom, cut[1] / near)
    return wp.vec4d(left, right, top, bottom)


def transform(
    vertices: wp.array3d(dtype=Any),
    projection: wp.array3d(dtype=wp.float64),
    near: wp.float64,
    screen: wp.array3d(dtype=Any),
):
    """Project vertices; a thread per sample and vertex.

    Args:
        vertices: (B, V, 3).
        projection: (B or 1, 3, 4).
        near: Depth of the near plane.
        screen: (B, V, 4), written; undefined but for the last column where a vertex is nearer than `near`.
    """
    b, v = wp.tid()
    h = homogeneous(vertices, projection, b, v)
    over = wp.float64(1.0)
    if h[2] >= near:
        over = wp.float64(1.0) / h[2]
    screen[b, v, 0] = screen.dtype(h[0] * over)
    screen[b, v, 1] = screen.dtype(h[1] * over)
    screen[b, v, 2] = screen.dtype(over)
    screen[b, v, 3] = screen.dtype(h[2])


def set_up(
    vertices: wp.array3d(dtype=Any),
    projection: wp.array3d(dtype=wp.float64),
    near: wp.float64,
    screen: wp.array3d(dtype=Any),
    triangles: wp.array2d(dtype=wp.int32),
    uv: wp.array2d(dtype=wp.float64),
    uv_triangles: wp.array2d(dtype=wp.int32),
    texels: wp.vec2i,
    size: wp.vec2i,
    planes: wp.array3d(dtype=Any),
    bounds: wp.array2d(dtype=wp.vec4i),
):
    """Planes and bounds of triangles; a thread per sample and triangle.

    Args:
        vertices, projection, near, screen: See `transform`.
        triangles: (F, 3).
        uv: (U, 2) finite texture coordinates.
        uv_triangles: (F, 3) indices into uv.
        texels: Width and height of the texture.
        size: Width and height of the picture.
        planes: (B, F, PLANE), written for triangles that may hit a pixel centre.
        bounds: (B, F) first and last column, first and last row that a triangle may hit, written; empty if it hits
            none. Triangles that cross the near plane get -1 - first in place of the first column.
    """
    b, t = wp.tid()
    bounds[b, t] = EMPTY
    i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    whole = ahead(screen, near, b, i, j, k)
    box = wp.vec4d()
    if whole:
        x0, x1, x2 = wp.float64(screen[b, i, 0]), wp.float64(screen[b, j, 0]), wp.float64(screen[b, k, 0])
        y0, y1, y2 = wp.float64(screen[b, i, 1]), wp.float64(screen[b, j, 1]), wp.float64(screen[b, k, 1])
        left_, right_ = wp.min(x0, wp.min(x1, x2)), wp.max(x0, wp.max(x1, x2))
        box = wp.vec4d(left_, right_, wp.min(y0, wp.min(y1, y2)), wp.max(y0, wp.max(y1, y2)))
    else:
        # A cut point is rounded: one pixel more on each side costs nothing, the hit test decides.
        one = wp.float64(1.0)
        box = clipped_bounds(vertices, projection, near, b, wp.vec3i(i, j, k)) + wp.vec4d(-one, one, -one, one)
    zero = wp.float64(0.0)
    last_column, last_row = wp.float64(size[0] - 1), wp.float64(size[1] - 1)
    # Negated, so that NaN counts as outside.
    if not (box[1] >= zero and box[3] >= zero and box[0] <= last_column and box[2] <= last_row):
        return
    left, right = int(wp.ceil(wp.max(box[0], zero))), int(wp.floor(wp.min(box[1], last_column)))
    top, bottom = int(wp.ceil(wp.max(box[2], zero))), int(wp.floor(wp.min(box[3], last_row)))
    if left > right or top > bottom:
        return
    n0, n1, n2, area = inverse(
        vertices, projection, near, screen, b, i, j, k, wp.float64(left), wp.float64(top)
    )  # fmt: skip
    if not wp.abs(area) > DEGENERATE:
        return
    half, one = wp.float64(0.5), wp.float64(1.0)
    wide, high = wp.float64(texels[0]), wp.float64(texels[1])
    over_depth = n0 + n1 + n2
    p, q, r = uv_triangles[t, 0], uv_triangles[t, 1], uv_triangles[t, 2]
    u = n0 * (uv[p, 0] * wide - half) + n1 * (uv[q, 0] * wide - half) + n2 * (uv[r, 0] * wide - half)
    v = n0 * ((one - uv[p, 1]) * high - half) + n1 * ((one - uv[q, 1]) * high - half)
    v += n2 * ((one - uv[r, 1]) * high - half)
    for n in range(3):
        planes[b, t, n] = planes.dtype(over_depth[n])
        planes[b, t, 3 + n] = planes.dtype(u[n])
        planes[b, t, 6 + n] = planes.dtype(v[n])
    planes[b, t, 9] = planes.dtype(left)
    planes[b, t, 10] = planes.dtype(top)
    planes[b, t, 11] = planes.dtype(wp.where(area > zero, 1, -1))
    if not whole:
        left = -1 - left
    bounds[b, t] = wp.vec4i(left, right, top, bottom)


def collect(
    vertices: wp.array3d(dtype=Any),
    projection: wp.array3d(dtype=wp.float64),
    near: wp.float64,
    screen: wp.array3d(dtype=Any),
    starts: wp.array1d(dtype=wp.int32),
    members: wp.array1d(dtype=wp.int32),
    visible: wp.array2d(dtype=wp.int32),
    corner_gradient: wp.array3d(dtype=wp.vec3d),
    screen_gradient: wp.array3d(dtype=wp.float64),
    seen_gradient: wp.array2d(dtype=wp.vec3d),
    vertices_gradient: wp.array3d(dtype=Any),
):
    """Add the gradients that concern each vertex, in a fixed order; a thread per sample and vertex.

    Args:
        vertices, projection, near, screen: See `transform`.
        starts, members: The corners at each vertex, see `topology.corners_at_vertices`.
        visible: (B, F), not 0 where a triangle is seen.
        corner_gradient: (B, F, 3) with respect to (X, Y, W) of a corner, defined for triangles that are seen.
        screen_gradient: (B, V, 2) with respect to pixel coordinates, or none.
        seen_gradient: (B, V) with respect to (X, Y, W), written.
        vertices_gradient: (B, V, 3), written; or none.
    """
    b, v = wp.tid()
    total = wp.vec3d()
    if v + 1 < starts.shape[0]:
        for n in range(starts[v], starts[v + 1]):
            corner = members[n]
            t = corner // 3
            if visible[b, t] != 0:
                total += corner_gradient[b, t, corner - 3 * t]
    if screen_gradient.shape[0] > 0 and screen[b, v, 3] >= screen.dtype(near):
        over = wp.float64(screen[b, v, 2])
        x, y = screen_gradient[b, v, 0] * over, screen_gradient[b, v, 1] * over
        total += wp.vec3d(x, y, -(x * wp.float64(screen[b, v, 0]) + y * wp.float64(screen[b, v, 1])))
    seen_gradient[b, v] = total
    if vertices_gradient.shape[0] > 0:
        m = b % projection.shape[0]
        for n in range(3):
            vertices_gradient[b, v, n] = vertices_gradient.dtype(
                projection[m, 0, n] * total[0] + projection[m, 1, n] * total[1] + projection[m, 2, n] * total[2]
            )


def to_camera(
    vertices: wp.array3d(dtype=Any),
    seen_gradient: wp.array2d(dtype=wp.vec3d),
    projection_gradient: wp.array3d(dtype=wp.float64),
):
    """Carry gradients from homogeneous coordinates to the projection; a block per sample.

    Args:
        vertices: (B, V, 3).
        seen_gradient: (B, V).
        projection_gradient: (B, 3, 4), written.
    """
    b, lane = wp.tid()
    mine = wp.vector(dtype=wp.float64, length=12)
    for v in range(lane, vertices.shape[1], wp.block_dim()):
        g = seen_gradient[b, v]
        for n in range(3):
            mine[4 * n] += g[n] * wp.float64(vertices[b, v, 0])
            mine[4 * n + 1] += g[n] * wp.float64(vertices[b, v, 1])
            mine[4 * n + 2] += g[n] * wp.float64(vertices[b, v, 2])
            mine[4 * n + 3] += g[n]
    total = wp.tile_extract(wp.tile_sum(wp.tile(mine, preserve_type=True)), 0)
    if lane == 0:
        for m in range(12):
            projection_gradient[b, m // 4, m % 4] = total[m]
