"""The passes through a folded flow: forward, and backward from gradients of the results to that of the code.

One call is all steps: no operation of torch in between, and threads stay together (see `team`).
"""

from __future__ import annotations

from lipflow_kit.compiled.jit import inline, kernel, part
from lipflow_kit.compiled.memory import flat, load

from lipflow_glow.passes import team
from lipflow_glow.passes.amx import configure, release
from lipflow_glow.passes.finish import feed
from lipflow_glow.passes.layer import layer
from lipflow_glow.passes.layout import BLOCK, PARTS, TILE
from lipflow_glow.passes.records import FEW, MANY, Constant, Finish, Matrix, Place, Work


@kernel
def forward(
    sizes, at, way, member, shares, first, last, additive, affines, nets, fixed, bound, bound_stride, values,
    kept_tiles, bits, entries, counters,
):  # fmt: skip
    """Steps `first` to `last` of the flow.

    Reads the code at `at.codes` (rows, 2 half) and leaves the result there or, after an odd number of steps, in the
    second of the two codes. If not `additive`, the conditioner's output is left at `at.made` and not added; then one
    step is done at a time.

    Args:
        sizes: `Sizes`.
        at: `Layout`.
        way: FEW, SOME or MANY.
        member: Which of the threads this is.
        shares: Into how many shares each layer's blocks are cut.
        first, last: Steps; masks of ReLUs go to `bits` for all steps.
        affines, nets: Packed matrices, all steps' one after another.
        fixed, bound: Constants; those of `bound` are `bound_stride` apart per row, or 0.
        values, kept_tiles, entries: Scratch, the last with 0, 1, 2 … in front.
        bits: uint16 (steps, blocks, 2, rows, words).
        counters: int64, zeros, two per phase.
    """
    half, hidden, parameters, blocks, _ = sizes
    affines, nets, fixed, bound = flat(affines), flat(nets), flat(fixed), flat(bound)
    work = _work(at, way, member, shares, hidden, half, parameters, values, kept_tiles, bits, entries, counters)
    none, nowhere = Constant(fixed, -1, 0), Place(-1, 0, -1, 0, 0, 0)
    stream = Place(at.stream, hidden, -1, 0, 0, 0)
    if way == MANY:
        configure()
    phase = _enter(work, 0, _code(at, half, 0, 0), 2 * half)
    for step in range(first, last):
        turn = (step - first) % 2
        own = step * at.fixed
        here = step * at.bound
        # The affine map.
        source = _code(at, half, turn, 0)
        code = _code(at, half, 1 - turn, 0)
        affine = _matrix(affines, step * 4 * half * half, 2 * half, 2 * half, (step + 1) * 4 * half * half, PARTS, way)
        finish = Finish(none, -1, Constant(fixed, own, 0), nowhere, code, none, none, -1, at.words, code)
        layer(work, phase, affine, False, source, -1, finish)
        phase += 1
        # The conditioner, on the kept half.
        net = step * at.net
        active = _active(at, hidden, 0)
        relu = step * blocks * 2 * at.rows * at.words
        finish = Finish(
            none, -1, none, nowhere, stream, Constant(bound, here, bound_stride), Constant(fixed, own + at.sign, 0),
            relu, at.words, active,
        )  # fmt: skip
        initial = _matrix(nets, net, half, hidden, net + at.block, at.parts, way)
        layer(work, phase, initial, False, code, -1, finish)
        phase += 1
        for block in range(blocks):
            square = net + at.block + 2 * block * hidden * hidden
            between = _active(at, hidden, 1)
            second = relu + at.rows * at.words
            finish = Finish(
                none, -1, none, nowhere, nowhere, Constant(fixed, own + at.shift + block * hidden, 0), none, second,
                at.words, between,
            )  # fmt: skip
            middle, after = square + hidden * hidden, square + 2 * hidden * hidden
            matrix = _matrix(nets, square, hidden, hidden, middle, at.parts, way)
            layer(work, phase, matrix, False, active, relu, finish)
            gate = Constant(bound, here + at.gate + block * hidden, bound_stride)
            relu = second + at.rows * at.words
            if block + 1 < blocks:
                shift = Constant(bound, here + (block + 1) * hidden, bound_stride)
                sign = Constant(fixed, own + at.sign + (block + 1) * hidden, 0)
                finish = Finish(gate, -1, none, stream, stream, shift, sign, relu, at.words, active)
            else:
                finish = Finish(gate, -1, none, stream, stream, none, none, -1, at.words, active)
            matrix = _matrix(nets, middle, hidden, hidden, after, at.parts, way)
            layer(work, phase + 1, matrix, False, between, second, finish)
            phase += 2
        offset = Constant(bound, here + at.offset, bound_stride)
        if additive:
            moved = _code(at, half, 1 - turn, half)
            finish = Finish(none, -1, offset, moved, moved, none, none, -1, at.words, moved)
        else:
            finish = Finish(none, -1, offset, nowhere, _made(at, parameters), none, none, -1, at.words, nowhere)
        final = _matrix(nets, net + at.final, hidden, parameters, net + at.net, at.parts, way)
        layer(work, phase, final, False, active, -1, finish)
        phase += 1
    if way == MANY:
        release()


@kernel
def backward(
    sizes, at, way, member, shares, first, last, additive, affines, nets, fixed, bound, bound_stride, values,
    kept_tiles, bits, entries, counters,
):  # fmt: skip
    """Steps `last` to `first` of the flow, backwards.

    Reads the gradient with respect to the code behind the last step at `at.codes`, and if not `additive` that with
    respect to the conditioner's output at `at.made`; leaves that with respect to the code before step `first` as
    `forward` leaves its result. Arguments as there, but that where the matrices are packed by blocks they are the
    transposed ones.
    """
    half, hidden, parameters, blocks, _ = sizes
    affines, nets, fixed, bound = flat(affines), flat(nets), flat(fixed), flat(bound)
    work = _work(at, way, member, shares, hidden, half, parameters, values, kept_tiles, bits, entries, counters)
    none, nowhere = Constant(fixed, -1, 0), Place(-1, 0, -1, 0, 0, 0)
    stream = Place(at.stream, hidden, -1, 0, 0, 0)
    few = way == FEW
    if way == MANY:
        configure()
    phase = _enter(work, 0, _code(at, half, 0, 0), 2 * half)
    made = _made(at, parameters)
    if not additive:
        phase = _enter(work, phase, made, parameters)
    for step in range(last - 1, first - 1, -1):
        turn = (last - 1 - step) % 2
        own = step * at.fixed
        here = step * at.bound
        net = step * at.net
        code = _code(at, half, turn, 0)
        # The conditioner, from its output or the moved half to the kept half.
        source = made
        if additive:
            source = _code(at, half, turn, half)
        active = _active(at, hidden, 0)
        gate = Constant(bound, here + at.gate + (blocks - 1) * hidden, bound_stride)
        finish = Finish(none, -1, none, nowhere, stream, none, gate, -1, at.words, active)
        last_square = net + at.final - hidden * hidden
        final = _matrix(nets, net + at.final, parameters, hidden, last_square, at.parts, way)
        layer(work, phase, final, few, source, -1, finish)
        phase += 1
        for block in range(blocks - 1, -1, -1):
            square = net + at.block + 2 * block * hidden * hidden
            between = _active(at, hidden, 1)
            relu = (step * blocks + block) * 2 * at.rows * at.words
            finish = Finish(none, relu + at.rows * at.words, none, nowhere, nowhere, none, none, -1, at.words, between)
            matrix = _matrix(nets, square + hidden * hidden, hidden, hidden, square, at.parts, way)
            layer(work, phase, matrix, few, active, -1, finish)
            sign = Constant(fixed, own + at.sign + block * hidden, 0)
            if block > 0:
                gate = Constant(bound, here + at.gate + (block - 1) * hidden, bound_stride)
                finish = Finish(sign, relu, none, stream, stream, none, gate, -1, at.words, active)
            else:
                finish = Finish(sign, relu, none, stream, stream, none, none, -1, at.words, active)
            before = square - hidden * hidden if block > 0 else net
            matrix = _matrix(nets, square, hidden, hidden, before, at.parts, way)
            layer(work, phase + 1, matrix, few, between, relu + at.rows * at.words, finish)
            phase += 2
        finish = Finish(none, -1, none, code, code, none, none, -1, at.words, code)
        initial = _matrix(nets, net, hidden, half, net - at.net + at.final, at.parts, way)
        layer(work, phase, initial, few, active, -1, finish)
        phase += 1
        # The affine map.
        before = _code(at, half, 1 - turn, 0)
        affine = _matrix(affines, step * 4 * half * half, 2 * half, 2 * half, (step - 1) * 4 * half * half, PARTS, way)
        finish = Finish(none, -1, none, nowhere, before, none, none, -1, at.words, before)
        layer(work, phase, affine, few, code, -1, finish)
        phase += 1
    if way == MANY:
        release()


@inline
def _work(at, way, member, shares, hidden, half, parameters, values, kept_tiles, bits, entries, counters):
    longest = max(hidden, 2 * half, parameters) + BLOCK
    return Work(
        way, at.rows, flat(values), flat(kept_tiles), flat(bits), flat(entries), at.sums + member * at.own,
        (1 + member) * longest, flat(counters), shares,
    )  # fmt: skip


@inline
def _matrix(array, at, inputs, outputs, after, parts, way):
    """A matrix at such a place among those of its kind."""
    if way != MANY:
        parts = 1
    return Matrix(array, at * parts, inputs, outputs, max(0, after * parts), parts)


@inline
def _code(at, half, turn, left):
    """A code from column `left` on; one of two."""
    width = 2 * half
    tiles_at = at.code_tiles + turn * PARTS * at.lines * width + left // 32 * TILE
    return Place(
        at.codes + turn * at.lines * width + left, width, tiles_at, width // 32 * TILE, at.lines * width, PARTS
    )


@inline
def _active(at, hidden, which):
    """Hidden units as inputs; one of two."""
    tiles_at = at.active_tiles + which * PARTS * at.lines * hidden
    place = at.active + which * at.lines * hidden
    return Place(place, hidden, tiles_at, hidden // 32 * TILE, at.lines * hidden, at.parts)


@inline
def _made(at, parameters):
    """A conditioner's output, or the gradient with respect to it."""
    return Place(at.made, parameters, at.made_tiles, parameters // 32 * TILE, at.lines * parameters, at.parts)


@part
def _enter(work, phase, to, width):
    """Make tiles of what the first products take."""
    if work.way != MANY:
        return phase
    blocks = width // BLOCK
    while True:
        block = team.take(work.counters, phase, 1)
        if block >= blocks:
            break
        for row in range(work.rows):
            for column in range(block * BLOCK, (block + 1) * BLOCK, 16):
                feed(work, to, row, column, load(work.values, to.at + row * to.stride + column, 16))
        team.hand_in(work.counters, phase, 1)
    team.wait(work.counters, phase, blocks)
    return phase + 1
