"""What follows a product elementwise, on each block of outputs while it is in the nearest cache."""

from __future__ import annotations

from lipflow_kit.compiled.jit import inline, part
from lipflow_kit.compiled.lanes import maximum, select
from lipflow_kit.compiled.memory import load, store

from lipflow_glow.passes.amx import store_parts
from lipflow_glow.passes.layout import BLOCK, TILE
from lipflow_glow.passes.microkernels import load_mask, nothing, store_mask
from lipflow_glow.passes.records import MANY


@part
def finished(work, finish, row, count, column, sums, stride):
    """Apply `finish` to `count` rows from `row` on of the block of outputs from `column` on, which lie at `sums`."""
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
        store_parts(value, work.tiles, place, to.distance, to.parts)
    else:
        store(work.values, to.at + row * to.stride + column, value)


@inline
def _constant(constant, row, column):
    return load(constant.array, constant.at + row * constant.stride + column, 16)


@inline
def _word(bits, row, words, column):
    return bits + row * words + column // 16
