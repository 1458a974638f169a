"""Products of a share of a layer's blocks by the CPU's matrix unit."""

from __future__ import annotations

from lipflow_core.compiled.jit import part
from lipflow_glow.passes.amx import FETCHED, multiply
from lipflow_glow.passes.finish import finished
from lipflow_glow.passes.layout import BLOCK, COLUMNS, PANEL, PARTS, TILE


@part
def share_by_tiles(work, matrix, transposed, source, nonzero, begin, end, finish):
    """As `layer.layer`, for blocks `begin` to `end`."""
    for block in range(begin, end, COLUMNS):
        after = min(block + COLUMNS, end)
        _by_tiles(work, matrix, source, block, after, after < end or work.shares == 1, finish)


@part
def _by_tiles(work, matrix, source, begin, end, more, finish):
    """A few blocks together, some inputs at a time: what all rows need of them stays in the second-level cache."""
    groups = (work.rows + 15) // 16
    entry = BLOCK * matrix.parts
    size = matrix.inputs * entry
    # What is fetched at a step, so that all is when the last rows are through.
    turns = (BLOCK // 16 * matrix.parts * 2 * TILE // FETCHED + groups - 1) // groups
    for input in range(0, matrix.inputs, PANEL):
        inputs = min(PANEL, matrix.inputs - input)
        weights = matrix.at + begin * size + input * entry
        following, apart = weights, size
        if input + inputs < matrix.inputs:
            following = weights + inputs * entry
        elif more and (end + 1) * BLOCK <= matrix.outputs:
            following = matrix.at + end * size
        elif more:
            following, apart = matrix.after, 0
        for group in range(groups):
            at = source.tiles_at + group * source.tiles_stride + input // 32 * TILE
            ahead = following + group * turns * (inputs // 32) * FETCHED // 2
            for block in range(end - begin):
                to = work.own_values + (block * groups + group) * 16 * BLOCK
                here, next = weights + block * size, ahead + block * apart
                if matrix.parts == 1:
                    multiply(work.tiles, at, source.distance, matrix.array, here, inputs // 32, work.values, to,
                             input == 0, next, turns, 1)  # fmt: skip
                else:
                    multiply(work.tiles, at, source.distance, matrix.array, here, inputs // 32, work.values, to,
                             input == 0, next, turns, PARTS)  # fmt: skip
    for block in range(end - begin):
        sums = work.own_values + block * groups * 16 * BLOCK
        finished(work, finish, 0, work.rows, (begin + block) * BLOCK, sums, BLOCK)
