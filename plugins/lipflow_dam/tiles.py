"""Squares of maps whose channels lie last: cut out of them, and zero where they reach beyond them."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional


def cut(maps: Tensor, number: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """Cut squares out of maps.

    Args:
        maps: (P, S, S, C).
        number: (M,) int64, the map of each square.
        top, left: (M,) int64, its first row and column, which may lie outside of the map.
        size: Side of the squares.

    Returns:
        (M, size, size, C); outside of the map its outermost texels are repeated.
    """
    side = maps.shape[1]
    rows, columns = (_steps(first, size).clamp(0, side - 1) for first in (top, left))
    texels = (number[:, None] * side + rows)[:, :, None] * side + columns[:, None]
    # As an embedding: its gradient is summed faster than that of any other kind of indexing.
    return functional.embedding(texels, rearrange(maps, "p h w c -> (p h w) c"))


def cleared(squares: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Set texels of squares (M, size, size, C) to zero that lie outside of their map of this side; see `cut`."""
    rows, columns = (_steps(first, squares.shape[1]) for first in (top, left))
    within = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None]
    return squares if within.all() else squares * within[..., None]


def _steps(first: Tensor, size: int) -> Tensor:
    return first[:, None] + torch.arange(size, device=first.device)
