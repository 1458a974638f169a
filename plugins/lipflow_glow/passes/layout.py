"""Where everything lies in the flat arrays that a pass works on. Imports no numba.

Widths are multiples of `BLOCK`, so that no loop has a remainder: weights, constants and so all results beyond a
layer's own units are zero. A code lies as its kept half and its moved half, each `half` wide.
"""

from __future__ import annotations

from typing import NamedTuple

BLOCK = 64
"""Columns of a block of a packed matrix."""
PARTS = 3
"""bfloat16 numbers that a float32 number is split into."""
TILE = 512
"""bfloat16 numbers of a tile."""
TILE_ROWS = 16
"""Rows of a tile."""


def padded(width: int) -> int:
    """The next multiple of `BLOCK`."""
    return -(-width // BLOCK) * BLOCK


class Sizes(NamedTuple):
    """A folded flow's padded widths.

    Attributes:
        half: Of each half of a code.
        hidden: Of the conditioners.
        parameters: Of what a conditioner makes.
        blocks: Residual blocks of each.
        steps: Steps.
    """

    half: int
    hidden: int
    parameters: int
    blocks: int
    steps: int


class Layout(NamedTuple):
    """Where things begin: in a step's weights and constants, and in the scratch of a pass over `rows` rows.

    Attributes:
        initial, block, final, net: In a step's packed conditioner: each residual block takes twice hidden².
        sign, shift, fixed: In a step's constants that do not depend on the context, behind the bias of a code: signs,
            then shifts of hidden per block; and their number.
        gate, offset, bound: In a step's constants at a context, behind the shifts of hidden per block: gates, and the
            conditioner's constant output; and their number.
        words: uint16 masks per row of hidden units.
        codes, stream, active, made, sums: In the scratch of numbers: two codes, the residual stream, two layers'
            inputs, the conditioner's output, and threads' own, `own` each.
        code_tiles, active_tiles, made_tiles: In the scratch of tiles.
        values, tiles: Sizes of the two.
        rows, lines: Rows, and those that scratch is laid out for.
        parts: Of bfloat16, that what a conditioner's product takes is split into.
    """

    initial: int
    block: int
    final: int
    net: int
    sign: int
    shift: int
    fixed: int
    gate: int
    offset: int
    bound: int
    words: int
    codes: int
    stream: int
    active: int
    made: int
    sums: int
    own: int
    code_tiles: int
    active_tiles: int
    made_tiles: int
    values: int
    tiles: int
    rows: int
    lines: int
    parts: int


def layout(sizes: Sizes, rows: int, threads: int, by_tiles: bool, narrow: bool) -> Layout:
    """Lay out a pass; `narrow` if conditioners' weights are bfloat16."""
    half, hidden, parameters, blocks, _ = sizes
    initial, square = half * hidden, hidden * hidden
    final = initial + 2 * blocks * square
    code, stacked = 2 * half, blocks * hidden
    lines = -(-rows // TILE_ROWS) * TILE_ROWS if by_tiles else rows
    stream = 2 * lines * code
    active = stream + lines * hidden
    made = active + 2 * lines * hidden
    sums = made + lines * parameters
    own = max(2 * max(code, hidden, parameters), 2 * TILE_ROWS * BLOCK, 2 * BLOCK * (1 + 16))
    parts = PARTS * lines
    active_tiles = 2 * parts * code
    made_tiles = active_tiles + 2 * parts * hidden
    return Layout(
        initial=0,
        block=initial,
        final=final,
        net=final + hidden * parameters,
        sign=code,
        shift=code + stacked,
        fixed=code + 2 * stacked,
        gate=stacked,
        offset=2 * stacked,
        bound=2 * stacked + parameters,
        words=hidden // 16,
        codes=0,
        stream=stream,
        active=active,
        made=made,
        sums=sums,
        own=own,
        code_tiles=0,
        active_tiles=active_tiles,
        made_tiles=made_tiles,
        values=sums + threads * own,
        tiles=made_tiles + parts * parameters if by_tiles else 0,
        rows=rows,
        lines=lines,
        parts=1 if narrow else PARTS,
    )
