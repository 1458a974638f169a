"""Kernels for depth and corner weights, which few losses read, and for their gradients."""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline, kernel

from lipflow_render.cpu.geometry import relative_corners
from lipflow_render.cpu.scene import Scene
from lipflow_render.definition import SLIVER


@kernel
def attributes(scene, depth, barycentric):
    """Compute depth and perspective-correct corner weights of one picture, zero where nothing is seen.

    Args:
        scene: The fields of the `Scene` as drawn.
        depth: (H, W), written.
        barycentric: (3, H, W), written.
    """
    scene = Scene(*scene)
    vertices, projection, triangles, found = scene.vertices, scene.projection, scene.triangles, scene.found
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            t = found[row, column]
            if t < 0:
                depth[row, column] = 0
                for n in range(3):
                    barycentric[n, row, column] = 0
                continue
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            x0, y0, w0, x1, y1, w1, x2, y2, w2 = relative_corners(vertices, projection, i, j, k, column, row)
            u0, u1, u2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
            over = 1 / (u0 + u1 + u2)
            b0, b1, b2 = u0 * over, u1 * over, u2 * over
            depth[row, column] = b0 * w0 + b1 * w1 + b2 * w2
            barycentric[0, row, column], barycentric[1, row, column], barycentric[2, row, column] = b0, b1, b2


@inline
def doubled_area(x0, y0, x1, y1, x2, y2):
    """Twice the signed area of a triangle."""
    return (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)


@kernel
def attribute_gradients(scene, depth_gradient, barycentric_gradient, corner_gradient):
    """Carry gradients of depth and corner weights of one picture to homogeneous coordinates.

    Args:
        scene: The fields of the `Scene` as drawn.
        depth_gradient: (H, W), or (0, 0) for none.
        barycentric_gradient: (3, H, W), or (0, 0, 0) for none.
        corner_gradient: (V, 3) float64, added to: gradients of (X, Y, W).
    """
    scene = Scene(*scene)
    vertices, projection, near = scene.vertices, scene.projection, scene.near
    triangles, found = scene.triangles, scene.found
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            t = found[row, column]
            if t < 0:
                continue
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            x0, y0, w0, x1, y1, w1, x2, y2, w2 = relative_corners(vertices, projection, i, j, k, column, row)
            u0, u1, u2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
            if (
                w0 >= near
                and w1 >= near
                and w2 >= near
                and not abs(doubled_area(x0 / w0, y0 / w0, x1 / w1, y1 / w1, x2 / w2, y2 / w2)) >= SLIVER
            ):
                continue
            over = 1 / (u0 + u1 + u2)
            b0, b1, b2 = u0 * over, u1 * over, u2 * over
            g0 = g1 = g2 = gz = 0.0
            if barycentric_gradient.shape[0] > 0:
                g0, g1 = barycentric_gradient[0, row, column], barycentric_gradient[1, row, column]
                g2 = barycentric_gradient[2, row, column]
            if depth_gradient.shape[0] > 0:
                gz = np.float64(depth_gradient[row, column])
            # depth = Σ bᵢwᵢ and bᵢ = uᵢ / Σu
            g0, g1, g2 = g0 + gz * w0, g1 + gz * w1, g2 + gz * w2
            mean = g0 * b0 + g1 * b1 + g2 * b2
            g0, g1, g2 = (g0 - mean) * over, (g1 - mean) * over, (g2 - mean) * over
            # u₀ = x₁ y₂ - x₂ y₁ and so on, x and y relative to the pixel
            gx0, gy0 = g2 * y1 - g1 * y2, g1 * x2 - g2 * x1
            gx1, gy1 = g0 * y2 - g2 * y0, g2 * x0 - g0 * x2
            gx2, gy2 = g1 * y0 - g0 * y1, g0 * x1 - g1 * x0
            corner_gradient[i, 0] += gx0
            corner_gradient[i, 1] += gy0
            corner_gradient[i, 2] += gz * b0 - column * gx0 - row * gy0
            corner_gradient[j, 0] += gx1
            corner_gradient[j, 1] += gy1
            corner_gradient[j, 2] += gz * b1 - column * gx1 - row * gy1
            corner_gradient[k, 0] += gx2
            corner_gradient[k, 1] += gy2
            corner_gradient[k, 2] += gz * b2 - column * gx2 - row * gy2
