"""Kernels that carry gradients from the planes of triangles (see `geometry`) back to vertices and cameras."""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline, kernel

from lipflow_render.cpu.geometry import inverse_ahead, inverse_crossing
from lipflow_render.cpu.scene import COLUMN, DEPTH, ROW
from lipflow_render.definition import SLIVER


@inline
def planes_to_corners(scene, t, sums, corner_gradient):
    """Carry gradients from the planes of a triangle to the homogeneous coordinates of its corners.

    The derivative of the value that plane q = Σ aᵢ(H⁻¹)ᵢ has at a pixel, with respect to hᵢ, is -q Nᵢ.

    Args:
        scene: The mesh as drawn.
        t: The triangle.
        sums: Nine numbers: for each of the three planes the sum over the triangle's pixels of the gradient times x, of
            that times y, and of the gradient itself; x and y are relative to the triangle's own pixel.
        corner_gradient: (V, 3) float64, added to: gradients of (X, Y, W).
    """
    vertices, projection, near = scene.vertices, scene.projection, scene.near
    triangles, screen, planes = scene.triangles, scene.screen, scene.planes
    i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    column, row = planes[t, COLUMN], planes[t, ROW]
    if screen[i, DEPTH] >= near and screen[j, DEPTH] >= near and screen[k, DEPTH] >= near:
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
            corner_gradient[corners[n], 0] += x
            corner_gradient[corners[n], 1] += y
            corner_gradient[corners[n], 2] += w


@kernel
def corners_to_inputs(vertices, projection, parts, vertices_gradient, projection_gradient):
    """Carry gradients from homogeneous coordinates to vertices and camera.

    Args:
        vertices: (V, 3).
        projection: (3, 4) float64.
        parts: (N, V, 3) float64, gradients of (X, Y, W) in N parts, summed in the first of them.
        vertices_gradient: (V, 3), written; or of length 0 if not wanted.
        projection_gradient: (3, 4) float64, written; or of length 0 if not wanted.
    """
    p = projection
    corner_gradient = parts[0]
    for n in range(1, parts.shape[0]):
        corner_gradient += parts[n]
    if vertices_gradient.shape[0] > 0:
        for v in range(vertices.shape[0]):
            x, y, w = corner_gradient[v, 0], corner_gradient[v, 1], corner_gradient[v, 2]
            for n in range(3):
                vertices_gradient[v, n] = p[0, n] * x + p[1, n] * y + p[2, n] * w
    if projection_gradient.shape[0] > 0:
        projection_gradient[:] = 0
        for v in range(vertices.shape[0]):
            for n in range(3):
                g = corner_gradient[v, n]
                projection_gradient[n, 0] += g * vertices[v, 0]
                projection_gradient[n, 1] += g * vertices[v, 1]
                projection_gradient[n, 2] += g * vertices[v, 2]
                projection_gradient[n, 3] += g
