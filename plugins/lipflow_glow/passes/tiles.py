"""Products of a share of a layer's blocks by the CPU's matrix unit."""

from __future__ import annotations

from lipflow_kit.compiled.jit import part

from lipflow_glow.passes.amx import COLUMNS, multiply
from lipflow_glow.passes.finish import finished
from lipflow_glow.passes.layout import BLOCK, PARTS


@part
def share_by_tiles(work, matrix, transposed, source, nonzero, begin, end, finish):
    """As `layer.layer`, for blocks `begin` to `end`: all rows go through a block while it is in the caches."""
    steps, wide = matrix.inputs // 32, 16 * COLUMNS
    for block in range(begin, end):
        for row in range(0, work.rows, 32):
            at = source.tiles_at + row // 16 * source.tiles_stride
            for column in range(0, BLOCK, wide):
                weights = matrix.at + (block * BLOCK + column) * matrix.inputs * matrix.parts
                to = work.own_values + column
                if work.rows - row <= 16:
                    if matrix.parts == 1:
                        multiply(work.tiles, at, source.tiles_stride, source.distance, matrix.array, weights, steps,
                                 work.values, to, 1, 1)  # fmt: skip
                    else:
                        multiply(work.tiles, at, source.tiles_stride, source.distance, matrix.array, weights, steps,
                                 work.values, to, 1, PARTS)  # fmt: skip
                elif matrix.parts == 1:
                    multiply(work.tiles, at, source.tiles_stride, source.distance, matrix.array, weights, steps,
                             work.values, to, 2, 1)  # fmt: skip
                else:
                    multiply(work.tiles, at, source.tiles_stride, source.distance, matrix.array, weights, steps,
                             work.values, to, 2, PARTS)  # fmt: skip
            finished(work, finish, row, min(32, work.rows - row), block * BLOCK, work.own_values, BLOCK)
