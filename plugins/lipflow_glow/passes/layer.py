"""One layer of a pass: a product with a packed matrix and what follows it, shared out among threads."""

from __future__ import annotations

from lipflow_kit.compiled.jit import part
from numba import types
from numba.extending import overload

from lipflow_glow.passes import team
from lipflow_glow.passes.layout import BLOCK
from lipflow_glow.passes.tiles import share_by_tiles
from lipflow_glow.passes.vectors import share_by_vectors


def _share(work, matrix, transposed, source, nonzero, begin, end, finish):
    """As `layer`, for blocks `begin` to `end`."""


@overload(_share)
def _share_of(work, matrix, transposed, source, nonzero, begin, end, finish):
    chosen = share_by_tiles if matrix.types[0].dtype == types.int16 else share_by_vectors

    def run(work, matrix, transposed, source, nonzero, begin, end, finish):
        chosen(work, matrix, transposed, source, nonzero, begin, end, finish)

    return run


@part
def layer(work, phase, matrix, transposed, source, nonzero, finish):
    """finish(inputs W) for all rows.

    Args:
        work: A `Work`.
        phase: Which of the pass's phases this is.
        matrix: A `Matrix`, packed by rows where `work.way` is FEW, by blocks where it is SOME, as tiles, int16, where
            it is MANY.
        transposed: Whether W is the transposed of what is packed by rows.
        source: A `Place`.
        nonzero: Where in `work.bits` it says which inputs are not zero; negative if any may be.
        finish: A `Finish`.
    """
    blocks = matrix.outputs // BLOCK
    share = (blocks + work.shares - 1) // work.shares
    while True:
        begin = team.take(work.counters, phase, share)
        if begin >= blocks:
            break
        end = min(begin + share, blocks)
        _share(work, matrix, transposed, source, nonzero, begin, end, finish)
        team.hand_in(work.counters, phase, end - begin)
    team.wait(work.counters, phase, blocks)
