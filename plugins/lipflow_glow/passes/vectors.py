"""Products of a share of a layer's blocks by vector instructions."""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import part
from lipflow_kit.compiled.lanes import total
from lipflow_kit.compiled.memory import load, store

from lipflow_glow.passes.finish import finished
from lipflow_glow.passes.layout import BLOCK
from lipflow_glow.passes.microkernels import GROUP, TOGETHER, accumulate, dots, nothing, spread
from lipflow_glow.passes.records import FEW

LISTED = 16
"""Up to so many rows inputs that are zero in all of them are looked for."""


@part
def share_by_vectors(work, matrix, transposed, source, nonzero, begin, end, finish):
    """As `layer.layer`, for blocks `begin` to `end`."""
    first, count = 0, matrix.inputs
    if nonzero >= 0 and work.rows <= LISTED and not transposed:
        first = work.own_entries
        count = _list_nonzero(work, nonzero, matrix.inputs // 16, 0, matrix.inputs // 16)
    if work.way == FEW and not transposed:
        _by_entries(work, matrix, source, first, count, begin, end, finish)
        return
    for block in range(begin, end):
        if transposed:
            _by_dots(work, matrix, source, block, finish)
        else:
            _by_blocks(work, matrix, source, first, count, block, block + 1 < end or work.shares == 1, finish)


@part
def _list_nonzero(work, bits, stride, low, high):
    """List the units of words `low` to `high` that are positive in any row, and a few again."""
    count = 0
    for word in range(low, high):
        units = np.int64(0)
        for row in range(work.rows):
            units |= np.int64(work.bits[bits + row * stride + word])
        for unit in range(16):
            work.entries[work.own_entries + count] = 16 * word + unit
            count += (units >> unit) & 1
    for i in range(TOGETHER):
        work.entries[work.own_entries + count + i] = 16 * low
    return count


@part
def _by_entries(work, matrix, source, first, count, begin, end, finish):
    sums, column = work.own_values, begin * BLOCK
    width, zero = (end - begin) * BLOCK, nothing(work.values)
    for i in range(0, work.rows * width, 16):
        store(work.values, sums + i, zero)
    if work.rows == 1:
        spread(work.values, source.at, source.stride, matrix.array, matrix.at + column, matrix.outputs, work.entries,
               first, count, work.values, sums, width, 1)  # fmt: skip
    else:
        spread(work.values, source.at, source.stride, matrix.array, matrix.at + column, matrix.outputs, work.entries,
               first, count, work.values, sums, width, 2)  # fmt: skip
    for block in range(begin, end):
        finished(work, finish, 0, work.rows, block * BLOCK, sums + block * BLOCK - column, width)


@part
def _by_blocks(work, matrix, source, first, count, block, more, finish):
    sums, weights = work.own_values, matrix.at + block * matrix.inputs * BLOCK
    # There is time to fetch the next block meanwhile: its weights are shared out among the times that this one's
    # entries are gone through.
    pace, following = 0, weights
    if more:
        times = work.rows // GROUP * 2 + work.rows % 8 // 4 + work.rows % 4 // 2 + work.rows % 2
        pace, following = max(16, BLOCK // times), weights + matrix.inputs * BLOCK
        if (block + 1) * BLOCK == matrix.outputs:
            following = matrix.after
    row = 0
    while row < work.rows:
        left = work.rows - row
        at = source.at + row * source.stride
        if left >= 8 and GROUP >= 8:
            taken = 8
            following = accumulate(work.values, at, source.stride, matrix.array, weights, work.entries, first, count,
                                   following, pace, work.values, sums, 8)  # fmt: skip
        elif left >= 4:
            taken = 4
            following = accumulate(work.values, at, source.stride, matrix.array, weights, work.entries, first, count,
                                   following, pace, work.values, sums, 4)  # fmt: skip
        elif left >= 2:
            taken = 2
            following = accumulate(work.values, at, source.stride, matrix.array, weights, work.entries, first, count,
                                   following, pace, work.values, sums, 2)  # fmt: skip
        else:
            taken = 1
            following = accumulate(work.values, at, source.stride, matrix.array, weights, work.entries, first, count,
                                   following, pace, work.values, sums, 1)  # fmt: skip
        finished(work, finish, row, taken, block * BLOCK, sums, BLOCK)
        row += taken


@part
def _by_dots(work, matrix, source, block, finish):
    sums, column = work.own_values, block * BLOCK
    parts = sums + 2 * BLOCK
    first, count = column, BLOCK
    if finish.mask >= 0:
        first, word = work.own_entries, column // 16
        count = _list_nonzero(work, finish.mask, matrix.outputs // 16, word, word + BLOCK // 16)
    if work.rows == 1:
        dots(work.values, source.at, source.stride, matrix.array, matrix.at, matrix.inputs, work.entries, first, count,
             work.values, parts, 1)  # fmt: skip
    else:
        dots(work.values, source.at, source.stride, matrix.array, matrix.at, matrix.inputs, work.entries, first, count,
             work.values, parts, 2)  # fmt: skip
    for row in range(work.rows):
        for v in range(0, BLOCK, 16):
            store(work.values, sums + row * BLOCK + v, nothing(work.values))
        for i in range(count):
            made = total(load(work.values, parts + 16 * (i * work.rows + row), 16))
            work.values[sums + row * BLOCK + work.entries[first + i] - column] = made
    finished(work, finish, 0, work.rows, column, sums, BLOCK)
