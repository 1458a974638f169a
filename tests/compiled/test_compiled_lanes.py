"""Every operation on vectors does in each lane what numpy does."""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
import pytest
from lipflow_kit.compiled import lanes, memory
from lipflow_kit.compiled.jit import inline
from lipflow_kit.compiled.lanes import bits_of
from lipflow_kit.compiled.memory import load, store
from numba import njit

COUNT = 8
REAL, WHOLE = ("float32", "float64"), ("int32", "int64")

NUMBERS = {
    "float": ([1.5, -2.5, 0.0, 7.0, np.nan, np.inf, -3.0, 2.0], [2.0, -2.5, -1.0, 0.5, 1.0, 1.0, np.nan, 2.5]),
    "int": ([3, -7, 0, 2**30, 5, -1, 100, 8], [2, -7, 5, 3, -5, 1, 99, 9]),
}
"""Numbers of both operands."""


def numbers(kind: str) -> tuple[np.ndarray, np.ndarray]:
    one, other = NUMBERS["float" if kind in REAL else "int"]
    return np.array(one, kind), np.array(other, kind)


def mask_bits(mask: np.ndarray) -> int:
    return int(np.packbits(mask, bitorder="little")[0])


@inline
def both(one, other):
    return (one < other) & (other > one)


@inline
def either(one, other):
    return (one < other) | (one > other)


def symbol(function: Callable) -> Callable:
    """Python's operator as a function that kernels can call."""
    return inline(function)


BINARY = {
    "+": (symbol(lambda a, b: a + b), operator.add, REAL + WHOLE),
    "-": (symbol(lambda a, b: a - b), operator.sub, REAL + WHOLE),
    "*": (symbol(lambda a, b: a * b), operator.mul, REAL + WHOLE),
    "/": (symbol(lambda a, b: a / b), operator.truediv, REAL),
    "minimum": (lanes.minimum, lambda a, b: np.where(a < b, a, b), REAL + WHOLE),
    "maximum": (lanes.maximum, lambda a, b: np.where(a > b, a, b), REAL + WHOLE),
    "select": (
        symbol(lambda a, b: lanes.select(a < b, a, b)), lambda a, b: np.where(a < b, a, b), REAL + WHOLE
    ),
    "interleaved": (lanes.interleaved, lambda a, b: np.stack([a, b], axis=1).ravel(), REAL + WHOLE),
}  # fmt: skip
"""Operation → (on lanes, on numpy's arrays, types of the numbers)."""

MASKS = {
    "<": (symbol(lambda a, b: a < b), operator.lt),
    "<=": (symbol(lambda a, b: a <= b), operator.le),
    ">": (symbol(lambda a, b: a > b), operator.gt),
    ">=": (symbol(lambda a, b: a >= b), operator.ge),
    "==": (symbol(lambda a, b: a == b), operator.eq),
    "!=": (symbol(lambda a, b: a != b), operator.ne),
    "&": (both, lambda a, b: (a < b) & (b > a)),
    "|": (either, lambda a, b: (a < b) | (a > b)),
}
"""Operations whose result is a mask."""

UNARY = {
    "evens": (lanes.evens, lambda a: a[::2], REAL + WHOLE),
    "odds": (lanes.odds, lambda a: a[1::2], REAL + WHOLE),
    "doubled": (lanes.doubled, lambda a: a.repeat(2), REAL + WHOLE),
    "floor": (lanes.floor, np.floor, REAL),
    "ceil": (lanes.ceil, np.ceil, REAL),
    "repeated": (symbol(lambda a: lanes.lanes(lanes.lane(a, 1), COUNT)), lambda a: np.full(COUNT, a[1]), REAL + WHOLE),
    "ramp": (symbol(lambda a: lanes.ramp(lanes.lane(a, 0), COUNT)), lambda a: a[0] + np.arange(COUNT), REAL + WHOLE),
    "joined": (
        symbol(lambda a: lanes.joined((lanes.lane(a, 3), lanes.lane(a, 1)))), lambda a: a[[3, 1]], REAL + WHOLE
    ),
}  # fmt: skip


def cases(table: dict) -> list:
    return [pytest.param(name, kind, id=f"{name} {kind}") for name, (_, _, kinds) in table.items() for kind in kinds]


@pytest.mark.parametrize(("name", "kind"), cases(BINARY))
def test_two_operands(name, kind):
    operation, truth, _ = BINARY[name]

    @njit
    def run(one, other, out):
        store(out, 0, operation(load(one, 0, COUNT), load(other, 0, COUNT)))

    one, other = numbers(kind)
    with np.errstate(all="ignore"):
        wanted = truth(one, other)
    out = np.zeros_like(wanted)
    run(one, other, out)
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("kind", REAL + WHOLE)
@pytest.mark.parametrize("name", MASKS)
def test_masks(name, kind):
    operation, truth = MASKS[name]

    @njit
    def run(one, other):
        return bits_of(operation(load(one, 0, COUNT), load(other, 0, COUNT)))

    one, other = numbers(kind)
    assert run(one, other) == mask_bits(truth(one, other))


@pytest.mark.parametrize(("name", "kind"), cases(UNARY))
def test_one_operand(name, kind):
    operation, truth, _ = UNARY[name]

    @njit
    def run(one, out):
        store(out, 0, operation(load(one, 0, COUNT)))

    one, _ = numbers(kind)
    wanted = truth(one).astype(kind)
    out = np.zeros_like(wanted)
    run(one, out)
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("kind", REAL + WHOLE)
def test_lanes_and_a_scalar(kind):
    @njit
    def run(one, number, out):
        vector = load(one, 0, COUNT)
        store(out, 0, lanes.minimum(number - vector, vector * number))

    one, other = numbers(kind)
    out = np.zeros_like(one)
    run(one, other[0], out)
    left, right = other[0] - one, one * other[0]
    np.testing.assert_array_equal(out, np.where(left < right, left, right))


@pytest.mark.parametrize("kind", REAL + WHOLE)
@pytest.mark.parametrize("count", [2, 4, 16])
def test_total(kind, count):
    @njit
    def run(one):
        return lanes.total(load(one, 0, count))

    one = np.arange(3, 3 + count).astype(kind)
    assert run(one) == one.sum()


@pytest.mark.parametrize("kind", REAL)
def test_conversions_to_integers_and_back(kind):
    @njit
    def run(one, whole, back):
        vector = load(one, 0, COUNT)
        store(whole, 0, lanes.truncated(vector))
        store(back, 0, lanes.real_like(lanes.truncated(vector), vector))

    one = np.array([1.5, -2.5, 0.0, 7.9, -0.9, 1e6, -3.0, 2.0], kind)
    whole, back = np.zeros(COUNT, np.int32), np.zeros(COUNT, kind)
    run(one, whole, back)
    np.testing.assert_array_equal(whole, np.trunc(one))
    np.testing.assert_array_equal(back, np.trunc(one))


def test_trailing_zeros():
    @njit
    def run(bits):
        return lanes.trailing_zeros(bits)

    assert [run(1 << n | 1 << 62) for n in (0, 5, 40, 62)] == [0, 5, 40, 62]


@pytest.mark.parametrize("kind", REAL + WHOLE)
def test_loads_and_stores_at_flat_indices(kind):
    @njit
    def run(array, out):
        store(out, 3, load(array, 5, 4))
        store(out, 9, load(array, 1, 2))
        memory.fetch(array, 10**6)
        return memory.item(array, 7)

    array, out = np.arange(12).astype(kind).reshape(3, 4), np.full((2, 6), -1, kind)
    assert run(array, out) == 7
    np.testing.assert_array_equal(out.ravel(), [-1, -1, -1, 5, 6, 7, 8, -1, -1, 1, 2, -1])


@pytest.mark.parametrize("kind", REAL + WHOLE)
def test_masked_loads_and_stores_leave_other_memory_alone(kind):
    @njit
    def run(array, limit, out):
        mask = lanes.ramp(np.int32(0), COUNT) < np.int32(limit)
        memory.store_where(out, 1, memory.load_where(array, 2, mask, 9), mask)
        store(out, COUNT + 1, memory.load_where(array, 2, mask, 9))

    array, out = np.arange(7).astype(kind), np.full(2 * COUNT + 1, -1, kind)
    run(array, 5, out)
    np.testing.assert_array_equal(out, [-1, 2, 3, 4, 5, 6, -1, -1, -1, 2, 3, 4, 5, 6, 9, 9, 9])


@pytest.mark.parametrize("kind", [*REAL, "int32"])
def test_pairs_are_gathered_side_by_side(kind):
    @njit
    def run(array, start, index, out):
        store(out, 0, memory.gather_pairs(array, start, load(index, 0, 4)))

    array, index, out = np.arange(40).astype(kind), np.array([0, 7, 3, 30], np.int32), np.zeros(8, kind)
    run(array, 5, index, out)
    np.testing.assert_array_equal(out, [5, 6, 12, 13, 8, 9, 35, 36])


@pytest.mark.parametrize("kind", REAL)
def test_streaming_stores_are_seen_after_a_fence(kind):
    @njit
    def run(array, out):
        for n in range(0, array.size, COUNT):
            memory.stream(out, n, load(array, n, COUNT))
        memory.fence()

    array, raw = np.arange(64).astype(kind), np.zeros(64 * 8 + 64, np.uint8)
    out = raw[-raw.ctypes.data % 64 :][: array.nbytes].view(kind)
    run(array, out)
    np.testing.assert_array_equal(out, array)
