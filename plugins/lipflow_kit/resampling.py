"""Bringing pictures to smaller sizes by averaging areas. Imports no torch."""

from __future__ import annotations

import functools

import numpy as np


def shrink(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Area-filter a picture to a smaller size.

    Each target pixel is the mean of the source over exactly the area that it covers. A point at (x, y) moves to
    ((x + ½)·w/W − ½, (y + ½)·h/H − ½), pixel centres at integers: `lipflow_kit.cameras.shrink_intrinsics`.

    Args:
        picture: (H, W, C).
        size: Target height and width.

    Returns:
        (h, w, C) float32 in the picture's own unit.
    """
    height, width = picture.shape[:2]
    if (height, width) == tuple(size):
        return picture.astype(np.float32)
    rows = np.tensordot(_areas(height, size[0]), picture.astype(np.float32), axes=(1, 0))
    return np.tensordot(_areas(width, size[1]), rows, axes=(1, 1)).transpose(1, 0, 2)


@functools.lru_cache(maxsize=16)
def _areas(source: int, target: int) -> np.ndarray:
    """Give the share (target, source) float32 of each target pixel that each source pixel covers."""
    edges = np.arange(target + 1) * (source / target)
    pixels = np.arange(source)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(overlap, 0, None) * (target / source)).astype(np.float32)


def box_filter(pictures: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of factor × factor pixels: (…, factor·H, factor·W) → (…, H, W)."""
    # Sums of strided views are several times as fast as a mean over two axes.
    columns = functools.reduce(np.add, [pictures[..., offset::factor] for offset in range(factor)])
    rows = functools.reduce(np.add, [columns[..., offset::factor, :] for offset in range(factor)])
    return rows / factor**2
