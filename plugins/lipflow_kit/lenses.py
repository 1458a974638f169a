"""Lens distortion by OpenCV's model k1 k2 p1 p2 k3: applied to points, removed from pictures. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def distort(points: np.ndarray, intrinsics: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """Give the place in the real picture of each point of an ideal pinhole picture.

    Args:
        points: (…, 2) pixels, x then y.
        intrinsics: (3, 3).
        distortion: (5,) k1 k2 p1 p2 k3.

    Returns:
        (…, 2) pixels; points far outside the picture may become infinite.
    """
    inverse = np.linalg.inv(intrinsics)
    ideal = points @ inverse[:2, :2].T + inverse[:2, 2]
    x, y = ideal[..., 0], ideal[..., 1]
    k1, k2, p1, p2, k3 = distortion
    with np.errstate(over="ignore", invalid="ignore"):
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        moved = np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ],
            axis=-1,
        )
        return moved @ intrinsics[:2, :2].T + intrinsics[:2, 2]


def largest_distortion(intrinsics: np.ndarray, distortion: np.ndarray, size: tuple[int, int]) -> float:
    """Give the greatest distance in pixels that a lens moves any point of a picture of this (height, width)."""
    grid = _grid(tuple(np.linspace(0, side - 1, 33) for side in size))
    return float(np.linalg.norm(distort(grid, intrinsics, distortion) - grid, axis=-1).max())


def undistort(
    picture: np.ndarray, intrinsics: np.ndarray, distortion: np.ndarray, *, at_once: int = 1 << 20
) -> np.ndarray:
    """Give the picture that an ideal pinhole camera would have taken, sampled bilinearly.

    Args:
        picture: (H, W, C) uint8.
        intrinsics: (3, 3).
        distortion: (5,) k1 k2 p1 p2 k3.
        at_once: Number of pixels that are computed together; the result does not depend on it.

    Returns:
        (H, W, C) float32 in [0, 255].
    """
    height, width = picture.shape[:2]
    straight = np.empty(picture.shape, np.float32)
    # In bands of rows, since coordinates in float64 take many times the picture's memory.
    band = max(1, at_once // width)
    for top in range(0, height, band):
        rows = np.arange(top, min(top + band, height))
        grid = _grid((rows, np.arange(width)))
        source = np.clip(distort(grid, intrinsics, distortion), 0, [width - 1, height - 1])
        corner = np.minimum(source.astype(np.int64), [max(width - 2, 0), max(height - 2, 0)])
        fraction = (source - corner).astype(np.float32)
        x, y = corner[..., 0], corner[..., 1]
        right, below = np.minimum(x + 1, width - 1), np.minimum(y + 1, height - 1)
        a, b = fraction[..., :1], fraction[..., 1:]
        upper = picture[y, x] * (1 - a) + picture[y, right] * a
        lower = picture[below, x] * (1 - a) + picture[below, right] * a
        straight[rows] = upper * (1 - b) + lower * b
    return straight


def _grid(sides: Sequence[np.ndarray]) -> np.ndarray:
    """Make the points (rows, columns, 2) of a grid, x then y."""
    y, x = np.meshgrid(*sides, indexing="ij")
    return np.stack([x, y], axis=-1).astype(np.float64)
