"""What the parts of a pass tell each other."""

from __future__ import annotations

from typing import Any, NamedTuple

FEW, SOME, MANY = 0, 1, 2
"""Ways through a pass: one or two rows, by what is not zero alone; some, by vectors; many, by the matrix unit."""


class Matrix(NamedTuple):
    """A packed matrix: where it begins in a flat array, its inputs and outputs, both multiples of BLOCK.

    `after` is where what is multiplied with next begins in the same array, `parts` how many numbers stand for a weight.
    """

    array: Any
    at: int
    inputs: int
    outputs: int
    after: int
    parts: int


class Constant(NamedTuple):
    """Numbers per output and, where `stride` is not 0, per row; none if `at` is negative."""

    array: Any
    at: int
    stride: int


class Place(NamedTuple):
    """Where a layer's inputs or outputs lie: rows of numbers from `at` on, `stride` apart, none if `at` is negative;
    and as tiles (see `amx.store_parts`): from `tiles_at` on, 16 rows `tiles_stride` apart, parts `distance` apart."""

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
        entries: Flat int32: 0, 1, 2 …, then the threads' own lists.
        own_values, own_entries: Where this thread's own scratch begins.
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
    own_entries: int
    counters: Any
    shares: int
