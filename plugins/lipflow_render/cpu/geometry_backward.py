"""Kernels that carry gradients from the planes of triangles (see `geometry`) back to vertices and cameras."""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline, kernel

from lipflow_render.cpu.geometry import inverse_ahead, inverse_crossing
from lipflow_render.definition import SLIVER


@inline
def triangle_to_seen(t, vertices, projection, near, screen, triangles, planes, sums, seen_gradient):
    """Carry gradients from the planes of a triangle to the homogeneous coordinates of its corners.

    The derivative of the value that plane q = Σ aᵢ(H⁻¹)ᵢ has at a pixel, with respect to hᵢ, is -q Nᵢ.

    Args:
        t: The triangle.
        vertices, projection, near, screen, triangles, planes: As in `set_up`.
        sums: Nine numbers: for each plane the sum over its pixels of the gradient times x, of that times y, and of the
            gradient itself, pixels being relative to the triangle's own.
        seen_gradient: (V, 3) float64, added to.
    """
    i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    column, row = planes[t, 9], planes[t, 10]
    if screen[i, 3] >= near and screen[j, 3] >= near and screen[k, 3] >= near:
        a0, b0, c0, a1, b1, c1, a2, b2, c2, area = inverse_ahead(screen, i, j, k, column, row)
        if abs(area) < SLIVER:
            return
        inverse = (
            (np.float64(a0), np.float64(b0), np.float64(c0)),
            (np.float64(a1), np.float64(b1), np.float64(c1)),
            (np.float64(a2), np.float64(b2), np.float64(c2)),
        )
    else:
        a0, b0, c0, a1, b1, c1, a2, b2, c2, area = inverse_crossing(
            vertices, projection, i, j, k, np.float64(column), np.float64(row)
        )
        inverse = ((a0, b0, c0), (a1, b1, c1), (a2, b2, c2))
    corners = (i, j, k)
    for n in range(3):
        a, b, c = inverse[n]
        x = y = w = 0.0
        for q in range(3):
            g = a * sums[3 * q] + b * sums[3 * q + 1] + c * sums[3 * q + 2]
            x -= planes[t, 3 * q] * g
            y -= planes[t, 3 * q + 1] * g
            w -= planes[t, 3 * q + 2] * g
        w -= column * x + row * y
        if np.isfinite(x) and np.isfinite(y) and np.isfinite(w):
            seen_gradient[corners[n], 0] += x
            seen_gradient[corners[n], 1] += y
            seen_gradient[corners[n], 2] += w


@kernel
def seen_to_inputs(vertices, projection, parts, vertices_gradient, projection_gradient):
    """Carry gradients from homogeneous coordinates to vertices and camera.

    Args:
        vertices: (V, 3).
        projection: (3, 4) float64.
        parts: (N, V, 3) float64, added up in the first of them.
        vertices_gradient: (V, 3), written; or of length 0 if not wanted.
        projection_gradient: (3, 4) float64, written; or of length 0 if not wanted.
    """
    p = projection
    seen_gradient = parts[0]
    for n in range(1, parts.shape[0]):
        seen_gradient += parts[n]
    if vertices_gradient.shape[0] > 0:
        for v in range(vertices.shape[0]):
            x, y, w = seen_gradient[v, 0], seen_gradient[v, 1], seen_gradient[v, 2]
            for n in range(3):
                vertices_gradient[v, n] = p[0, n] * x + p[1, n] * y + p[2, n] * w
    if projection_gradient.shape[0] > 0:
        projection_gradient[:] = 0
        for v in range(vertices.shape[0]):
            for n in range(3):
                g = seen_gradient[v, n]
                projection_gradient[n, 0] += g * vertices[v, 0]
                projection_gradient[n, 1] += g * vertices[v, 1]
                projection_gradient[n, 2] += g * vertices[v, 2]
                projection_gradient[n, 3] += g
