"""One layer of a pass: a product with a packed matrix, and on each block of its outputs all that follows elementwise."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lipflow_core.compiled.jit import inline, part
from lipflow_core.compiled.lanes import load, maximum, select, store, total
from lipflow_glow.passes import team, tiles
from lipflow_glow.passes.layout import BLOCK, TILE
from lipflow_glow.passes.microkernels import (
    GROUP,
    TOGETHER,
    accumulate,
    dots,
    load_mask,
    nothing,
    spread,
    store_mask,
)

FEW, SOME, MANY = 0, 1, 2
"""Ways through a pass: one or two rows, by what is not zero alone; some, by vectors; many, by the matrix unit."""


class Matrix(NamedTuple):
    """A packed matrix: where it begins in a flat array, its inputs and outputs, both multiples of BLOCK."""

    array: Any
    at: int
    inputs: int
    outputs: int


class Constant(NamedTuple):
    """Numbers per output and, where `stride` is not 0, per row; none if `at` is negative."""

    array: Any
    at: int
    stride: int


class Place(NamedTuple):
    """Where a layer's inputs or outputs lie: rows of numbers from `at` on, `stride` apart, none if `at` is negative;
    and as tiles (see `tiles.store_parts`): from `tiles_at` on, 16 rows `tiles_stride` apart, parts `distance` apart."""

    at: int
    stride: int
    tiles_at: int
    tiles_stride: int
    distance: int
    parts: int


class Finish(NamedTuple):
    """What becomes of a product y, in this order; what has a negative `at` or word is left out.

    y · `scale`, zero where `mask` is, + `add`, + `residual`, stored to `linear`; then (y + `shift`) · `factor` and, if
    `relu` is not negative, its positive part and whether it is positive; stored to `feed`, the next product's inputs.
    `mask` and `relu` are places in `Work.bits`, of `words` per row.
    """

    scale: Constant
    mask: int
    add: Constant
    residual: Place
    linear: Place
    shift: Constant
    factor: Constant
    relu: int
    words: int
    feed: Place


class Work(NamedTuple):
    """What the layers of a pass share.

    Attributes:
        way: FEW, SOME or MANY.
        rows: Rows of the batch.
        values: Flat scratch in the type of the flow.
        tiles: Flat uint16 scratch for the matrix unit.
        bits: Flat uint16: per ReLU, row and 16 units, whether they are positive.
        entries: Flat int32: 0, 1, 2 …, and from `own_entries` on this thread's own list.
        own_values, own_tiles: Where this thread's own scratch begins.
        counters: int64, see `team`.
        shares: Into how many shares a layer's blocks are cut; 1 if there is one thread.
    """

    way: int
    rows: int
    values: Any
    tiles: Any
    bits: Any
    entries: Any
    own_values: int
    own_tiles: int
    own_entries: int
    counters: Any
    shares: int



LISTED = 16
"""Up to so many rows inputs that are zero in all of them are looked for."""


@part
def layer(work, phase, matrix, transposed, source, nonzero, finish):
    """finish(inputs W) for all rows.

    Args:
        work: A `Work`.
        phase: Which of the pass's phases this is.
        matrix: A `Matrix`, packed by rows where `work.way` is FEW, else by blocks.
        transposed: Whether W is the transposed of what is packed by rows.
        source: A `Place`.
        nonzero: Where in `work.bits` it says which inputs are not zero; negative if any may be.
        finish: A `Finish`.
    """
    blocks = matrix.outputs // BLOCK
    share = (blocks + work.shares - 1) // work.shares
    first, count = 0, matrix.inputs
    if nonzero >= 0 and work.way != MANY and not transposed and work.rows <= LISTED:
        first = work.own_entries
        count = _list_nonzero(work, nonzero, matrix.inputs // 16, 0, matrix.inputs // 16)
    while True:
        begin = team.take(work.counters, phase, share)
        if begin >= blocks:
            break
        end = min(begin + share, blocks)
        if work.way == FEW and not transposed:
            _by_entries(work, matrix, source, first, count, begin, end, finish)
        else:
            for block in range(begin, end):
                more = block + 1 < end or work.shares == 1
                if work.way == MANY:
                    _by_tiles(work, matrix, source, block, more, finish)
                elif work.way == SOME:
                    _by_vectors(work, matrix, source, first, count, block, more, finish)
                else:
                    _by_dots(work, matrix, source, block, finish)
        team.hand_in(work.counters, phase, end - begin)
    team.wait(work.counters, phase, blocks)


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
        _finish(work, finish, 0, work.rows, block * BLOCK, sums + block * BLOCK - column, width)


@part
def _by_vectors(work, matrix, source, first, count, block, more, finish):
    sums, weights = work.own_values, matrix.at + block * matrix.inputs * BLOCK
    # There is time to fetch the next block meanwhile: its weights are shared out among the times that this one's
    # entries are gone through.
    pace, following = 0, weights
    if more:
        times = work.rows // GROUP * 2 + work.rows % 8 // 4 + work.rows % 4 // 2 + work.rows % 2
        pace, following = max(16, BLOCK // times), weights + matrix.inputs * BLOCK
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
        _finish(work, finish, row, taken, block * BLOCK, sums, BLOCK)
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
    _finish(work, finish, 0, work.rows, column, sums, BLOCK)


@part
def _by_tiles(work, matrix, source, block, more, finish):
    steps, weights = matrix.inputs // 32, matrix.at + block * matrix.inputs * BLOCK
    tiles.split_block(matrix.array, weights, steps, work.tiles, work.own_tiles)
    following, pace = weights, 0
    if more:
        following, pace = weights + matrix.inputs * BLOCK, steps * tiles.FETCHED // 4
    for row in range(0, work.rows, 16):
        at = source.tiles_at + row // 16 * source.tiles_stride
        tiles.multiply(work.tiles, at, source.distance, work.tiles, work.own_tiles, steps, work.values,
                       work.own_values, matrix.array, following)  # fmt: skip
        following += pace
        _finish(work, finish, row, min(16, work.rows - row), block * BLOCK, work.own_values, BLOCK)


@part
def _finish(work, finish, row, count, column, sums, stride):
    """Apply `finish` to `count` rows from `row` on of the block of outputs that begins at `column`; they lie at `sums`."""
    to, zero = finish.feed, nothing(work.values)
    for r in range(count):
        at = row + r
        for v in range(0, BLOCK, 16):
            c = column + v
            y = load(work.values, sums + r * stride + v, 16)
            if finish.scale.at >= 0:
                y = y * _constant(finish.scale, at, c)
            if finish.mask >= 0:
                y = select(load_mask(work.bits, _word(finish.mask, at, finish.words, c)), y, zero)
            if finish.add.at >= 0:
                y = y + _constant(finish.add, at, c)
            if finish.residual.at >= 0:
                y = y + load(work.values, finish.residual.at + at * finish.residual.stride + c, 16)
            if finish.linear.at >= 0:
                store(work.values, finish.linear.at + at * finish.linear.stride + c, y)
            if to.at >= 0:
                if finish.shift.at >= 0:
                    y = y + _constant(finish.shift, at, c)
                if finish.factor.at >= 0:
                    y = y * _constant(finish.factor, at, c)
                if finish.relu >= 0:
                    store_mask(work.bits, _word(finish.relu, at, finish.words, c), y > zero)
                    y = maximum(zero, y)
                feed(work, to, at, c, y)


@inline
def feed(work, to, row, column, value):
    """Give 16 numbers of a row to the next product: as tiles where it goes by tiles."""
    if work.way == MANY:
        place = to.tiles_at + row // 16 * to.tiles_stride + column // 32 * TILE + row % 16 * 32 + column % 32
        tiles.store_parts(value, work.tiles, place, to.distance, to.parts)
    else:
        store(work.values, to.at + row * to.stride + column, value)


@inline
def _constant(constant, row, column):
    return load(constant.array, constant.at + row * constant.stride + column, 16)


@inline
def _word(bits, row, words, column):
    return bits + row * words + column // 16
