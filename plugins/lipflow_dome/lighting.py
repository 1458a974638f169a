"""The compiled inner loops of shading: normals of meshes, values at texels, light from each texel to each camera.

Each is a plain loop in float32 without fast-math, so that results do not depend on vectorisation.
"""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import kernel

GAMMA = 2.2
"""Gamma of the pictures: value = light^(1/2.2)."""

_STEPS = 1024
# The curve over the square root of light is almost straight: linear interpolation between samples is exact to 1e-6.
_CURVE = (np.linspace(0, 1, _STEPS + 1) ** (2 / GAMMA)).astype(np.float32)


@kernel
def mesh_normals(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give unit normals (B, V, 3) of meshes (B, V, 3), and twice the area (B, V) of the triangles at each vertex."""
    batch, count = vertices.shape[:2]
    normals, areas = np.zeros((batch, count, 3), np.float32), np.zeros((batch, count), np.float32)
    for row in range(batch):
        mesh, normal = vertices[row], normals[row]
        for triangle in range(len(triangles)):
            a, b, c = triangles[triangle]
            ux, uy, uz = mesh[b, 0] - mesh[a, 0], mesh[b, 1] - mesh[a, 1], mesh[b, 2] - mesh[a, 2]
            vx, vy, vz = mesh[c, 0] - mesh[a, 0], mesh[c, 1] - mesh[a, 1], mesh[c, 2] - mesh[a, 2]
            x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            area = np.sqrt(x * x + y * y + z * z)
            for corner in (a, b, c):
                normal[corner, 0] += x
                normal[corner, 1] += y
                normal[corner, 2] += z
                areas[row, corner] += area
        for vertex in range(count):
            x, y, z = normal[vertex]
            scale = np.float32(1) / max(np.sqrt(x * x + y * y + z * z), np.float32(1e-9))
            for axis in range(3):
                normal[vertex, axis] *= scale
    return normals, areas


@kernel
def at_texels(values: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Interpolate values at vertices (B, V, K) to texels (B, C, K); corners: (C, 3) vertices, weights: (C, 3)."""
    batch, channels, count = values.shape[0], values.shape[2], len(corners)
    found = np.empty((batch, count, channels), np.float32)
    for row in range(batch):
        for texel in range(count):
            i, j, k = corners[texel]
            a, b, c = weights[texel]
            for channel in range(channels):
                found[row, texel, channel] = (
                    a * values[row, i, channel] + b * values[row, j, channel] + c * values[row, k, channel]
                )
    return found


@kernel
def _power(base: float, exponent: int) -> float:
    """Compute base ** exponent by repeated squaring."""
    result = np.float32(1)
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


@kernel
def _send(
    points, normals, viewpoints, base, open_, lamps, power, strength, exponent, sheen, exposure, curve
):  # fmt: skip
    batch, count = points.shape[:2]
    views, steps = viewpoints.shape[1], np.float32(len(curve) - 1)
    zero, one, two = np.float32(0), np.float32(1), np.float32(2)
    colors = np.empty((batch, views, count, 3), np.float32)
    facing = np.empty((batch, views, count), np.float32)
    for row in range(batch):
        for view in range(views):
            ex, ey, ez = viewpoints[row, view]
            for texel in range(count):
                nx, ny, nz = normals[row, texel]
                x, y, z = ex - points[row, texel, 0], ey - points[row, texel, 1], ez - points[row, texel, 2]
                scale = one / np.sqrt(x * x + y * y + z * z)
                x, y, z = x * scale, y * scale, z * scale
                cosine = nx * x + ny * y + nz * z
                facing[row, view, texel] = max(cosine, zero)
                highlight = zero
                if cosine > zero:
                    # Lamps and surroundings mirrored in the surface: Phong lobes with Schlick's Fresnel term.
                    mx, my, mz = two * cosine * nx - x, two * cosine * ny - y, two * cosine * nz - z
                    mirrored = zero
                    for lamp in range(len(power)):
                        lobe = mx * lamps[row, lamp, 0] + my * lamps[row, lamp, 1] + mz * lamps[row, lamp, 2]
                        if lobe > zero:
                            mirrored += power[lamp] * _power(min(lobe, one), exponent[texel])
                    grazing = _power(min(max(one - cosine, zero), one), 4)
                    highlight = strength[texel] * (np.float32(0.4) + np.float32(0.6) * grazing) * mirrored
                    highlight = (highlight + sheen * grazing) * open_[row, texel]
                for channel in range(3):
                    light = exposure * (base[row, texel, channel] + highlight)
                    place = np.sqrt(min(max(light, zero), one)) * steps
                    left = min(int(place), len(curve) - 2)
                    part = place - np.float32(left)
                    colors[row, view, texel, channel] = curve[left] + part * (curve[left + 1] - curve[left])
    return colors, facing


def send(
    points: np.ndarray,
    normals: np.ndarray,
    viewpoints: np.ndarray,
    base: np.ndarray,
    open_: np.ndarray,
    lamps: np.ndarray,
    power: np.ndarray,
    strength: np.ndarray,
    exponent: np.ndarray,
    *,
    sheen: float,
    exposure: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the light from each texel to each camera.

    Args:
        points: (B, C, 3) places of the texels, head frame, millimetres.
        normals: (B, C, 3) unit normals.
        viewpoints: (B, N, 3) centres of the cameras, head frame, millimetres.
        base: (B, C, 3) light that the texel scatters equally in all directions.
        open_: (B, C) share of the surroundings that the texel sees.
        lamps: (B, L, 3) directions to the lamps, head frame.
        power: (L,) strength of the lamps.
        strength: (C,) strength of the highlights.
        exponent: (C,) exponent of the highlights, whole numbers.
        sheen: Strength of the surroundings mirrored at grazing angles.
        exposure: Factor from light to value.

    Returns:
        Colours (B, N, C, 3) float32 in [0, 1], and the cosine (B, N, C) between each texel's normal and each camera,
            0 where it faces away.
    """
    floats = [np.ascontiguousarray(array, np.float32) for array in (points, normals, viewpoints, base, open_, lamps)]
    power, strength = np.asarray(power, np.float32), np.asarray(strength, np.float32)
    return _send(*floats, power, strength, exponent.astype(np.int64), np.float32(sheen), np.float32(exposure), _CURVE)
