"""The innermost loops, written in LLVM's terms: a few rows times a packed matrix of K inputs and N outputs.

By blocks, (N / BLOCK, K, BLOCK): the weights that give a block of outputs lie in the order that they are read in, and
stay in the second-level cache while row after row goes through them (`accumulate`). By rows, (K, N): what one input
gives lies together. Inputs that are zero, as half of those behind a ReLU, are then left out of x W (`spread`), and
outputs that are not wanted, as behind a ReLU's zeros, out of g Wᵀ (`dots`): either way half of the matrix is never
read, and one copy of it serves both. `entries` lists those that are left.

All fetch ahead what they read next: left to itself a core here reads at a half to a third of its speed.
"""

from __future__ import annotations

from collections.abc import Callable

from lipflow_kit.compiled.lanes import Lanes, call, splat
from lipflow_kit.compiled.memory import fetch_line
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils, types
from numba.extending import intrinsic

from lipflow_glow.passes.layout import BLOCK

TOGETHER = 4
"""Entries that `spread` adds up at once, and that are fetched before they are used."""

_WIDE = bool(get_host_cpu_features().get("avx512f"))
_REGISTER = 64 if _WIDE else 32
# Sums held at once: half of the vector registers, for products to start before others end and without spilling.
_SUMS = 16 if _WIDE else 8
_LINE = 64
GROUP = 8 if _WIDE else 4
"""Rows that `accumulate` should take where there are as many."""
_INDEX, _SHORT, _WORD = ir.IntType(64), ir.IntType(16), ir.IntType(32)


def address(context, builder, kind, array, index):
    """The pointer to a flat index, from a pointer or a contiguous array."""
    data = array if isinstance(kind, types.CPointer) else context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [index])


def vector_at(builder, pointer, vector: ir.VectorType, aligned: int):
    """Load a vector of numbers aligned as numbers are."""
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=aligned)


def store_vector(builder, value, pointer, aligned: int) -> None:
    """Store a vector, aligned as numbers are."""
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=aligned)


def loop(builder, count, state: list, body: Callable) -> list:
    """for i in range(count): state = body(i, state); the state stays in registers."""
    before, head = builder.block, builder.append_basic_block("head")
    inside, after = builder.append_basic_block("inside"), builder.append_basic_block("after")
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(_INDEX)
    kept = [builder.phi(value.type) for value in state]
    builder.cbranch(builder.icmp_signed("<", index, count), inside, after)
    builder.position_at_end(inside)
    changed = body(index, kept)
    following = builder.add(index, _INDEX(1))
    for phi, start, end in zip([index, *kept], [_INDEX(0), *state], [following, *changed], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(end, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return kept


def fetch(builder, pointer, size: int, nearness: int = 3) -> None:
    """Fetch so many bytes from memory, to the nearest cache (3) or the second (2)."""
    for line in range(0, size, _LINE):
        place = builder.bitcast(pointer, cgutils.voidptr_t)
        fetch_line(builder, builder.gep(place, [_INDEX(line)]), nearness)


def _weights_at(builder, pointer, lanes: int, kind: types.Type, vector: ir.VectorType):
    """Weights in the type of the sums: bfloat16, held as uint16, is float32's upper half."""
    if kind != types.uint16:
        return vector_at(builder, pointer, vector, kind.bitwidth // 8)
    halves = vector_at(builder, pointer, ir.VectorType(_SHORT, lanes), 2)
    words = builder.zext(halves, ir.VectorType(_WORD, lanes))
    return builder.bitcast(builder.shl(words, splat(builder, _WORD(16), lanes)), vector)


def _real(kind: types.Type) -> ir.Type:
    return ir.DoubleType() if kind == types.float64 else ir.FloatType()


def _multiply_add(builder, one, other, total):
    size = 64 if isinstance(total.type.element, ir.DoubleType) else 32
    return call(builder, f"llvm.fmuladd.v{total.type.count}f{size}", total.type, [one, other, total])


@intrinsic(prefer_literal=True)
def accumulate(typing, inputs, at, stride, weights, block, entries, first, count, following, pace, sums, to, rows):
    """sums[r, c] = Σ_k inputs[r, k] W[k, c] over the listed k.

    Args:
        inputs: Flat; row r begins at `at` + r · `stride`.
        weights: Flat, packed by blocks; the block begins at `block`. uint16 is bfloat16.
        entries: int32, flat; the k are the `count` from `first` on.
        following, pace: With the i-th entry, what begins at `following` + i · `pace` is fetched.
        sums: Flat; (rows, BLOCK) from `to` on.
        rows: Literal, up to `GROUP`.

    Returns:
        `following`, as far on as was fetched.
    """
    lanes = _REGISTER * 8 // inputs.dtype.bitwidth
    height = rows.literal_value
    width = min(BLOCK // lanes, 1 << ((_SUMS // height).bit_length() - 1))
    aligned = inputs.dtype.bitwidth // 8
    signature = types.intp(
        inputs, types.intp, types.intp, weights, types.intp, entries, types.intp, types.intp, types.intp, types.intp,
        sums, types.intp, rows,
    )  # fmt: skip

    def emit(context, builder, sig, args):
        (x, x_at, x_stride, w, w_at, listed, listed_at, number, next_at, steps, y, y_at, _) = args
        vector = ir.VectorType(_real(inputs.dtype), lanes)
        zero = ir.Constant(vector, [0.0] * lanes)
        rows_at = _rows(context, builder, inputs, x, x_at, x_stride, height)
        list_at = address(context, builder, entries, listed, listed_at)
        advance = builder.mul(number, steps)
        for left in range(0, BLOCK, lanes * width):
            corner = address(context, builder, weights, w, builder.add(w_at, _INDEX(left)))
            after = address(context, builder, weights, w, next_at)

            def body(i, totals, corner=corner, after=after):
                fetch(builder, builder.gep(after, [builder.mul(i, steps)]), min(4, width) * _LINE, nearness=2)
                k = builder.sext(builder.load(builder.gep(list_at, [i])), _INDEX)
                line = builder.gep(corner, [builder.mul(k, _INDEX(BLOCK))])
                columns = [
                    _weights_at(builder, builder.gep(line, [_INDEX(v * lanes)]), lanes, weights.dtype, vector)
                    for v in range(width)
                ]
                made = []
                for r in range(height):
                    factor = splat(builder, builder.load(builder.gep(rows_at[r], [k])), lanes)
                    for v in range(width):
                        made.append(_multiply_add(builder, columns[v], factor, totals[r * width + v]))
                return made

            totals = loop(builder, number, [zero] * (height * width), body)
            next_at = builder.add(next_at, advance)
            for r in range(height):
                for v in range(width):
                    where = builder.add(y_at, _INDEX(r * BLOCK + left + v * lanes))
                    store_vector(builder, totals[r * width + v], address(context, builder, sums, y, where), aligned)
        return next_at

    return signature, emit


@intrinsic(prefer_literal=True)
def spread(typing, inputs, at, stride, weights, corner, columns, entries, first, count, sums, to, width, rows):
    """sums[r, c] += Σ_k inputs[r, k] W[k, c] over the listed k, for some of the columns.

    Args:
        inputs: Flat; row r begins at `at` + r · `stride`.
        weights: Flat, packed by rows of `columns` columns; the first of those wanted begins at `corner`.
        entries: int32, flat; the k are the `count` from `first` on, and `TOGETHER` more that are only fetched.
        sums: Flat; (rows, width) from `to` on.
        width: Columns wanted, a multiple of 32.
        rows: Literal.
    """
    lanes, height = 64 * 8 // weights.dtype.bitwidth, rows.literal_value
    aligned = inputs.dtype.bitwidth // 8
    signature = types.void(
        inputs, types.intp, types.intp, weights, types.intp, types.intp, entries, types.intp, types.intp, sums,
        types.intp, types.intp, rows,
    )  # fmt: skip

    def emit(context, builder, sig, args):
        (x, x_at, x_stride, w, w_at, w_stride, listed, listed_at, number, y, y_at, wanted, _) = args
        vector = ir.VectorType(_real(inputs.dtype), lanes)
        rows_at = _rows(context, builder, inputs, x, x_at, x_stride, height)
        sums_at = _rows(context, builder, sums, y, y_at, wanted, height)
        list_at = address(context, builder, entries, listed, listed_at)
        base = address(context, builder, weights, w, w_at)

        def entry(i):
            k = builder.sext(builder.load(builder.gep(list_at, [i])), _INDEX)
            return k, builder.gep(base, [builder.mul(k, w_stride)])

        def some(start, together):
            taken = [entry(builder.add(start, _INDEX(n))) for n in range(together)]
            later = [entry(builder.add(start, _INDEX(n + TOGETHER)))[1] for n in range(together)]
            factors = [
                [splat(builder, builder.load(builder.gep(row, [k])), lanes) for k, _ in taken] for row in rows_at
            ]

            def across(column, state):
                c = builder.mul(column, _INDEX(lanes))
                lines = []
                for (_, line), ahead in zip(taken, later, strict=True):
                    fetch(builder, builder.gep(ahead, [c]), _LINE)
                    lines.append(_weights_at(builder, builder.gep(line, [c]), lanes, weights.dtype, vector))
                for r in range(height):
                    place = builder.gep(sums_at[r], [c])
                    total = vector_at(builder, place, vector, aligned)
                    for factor, line in zip(factors[r], lines, strict=True):
                        total = _multiply_add(builder, line, factor, total)
                    store_vector(builder, total, place, aligned)
                return []

            loop(builder, builder.udiv(wanted, _INDEX(lanes)), [], across)
            return []

        groups = builder.udiv(number, _INDEX(TOGETHER))
        done = builder.mul(groups, _INDEX(TOGETHER))
        loop(builder, groups, [], lambda i, _: some(builder.mul(i, _INDEX(TOGETHER)), TOGETHER))
        loop(builder, builder.sub(number, done), [], lambda i, _: some(builder.add(done, i), 1))
        return context.get_dummy_value()

    return signature, emit


@intrinsic(prefer_literal=True)
def dots(typing, inputs, at, stride, weights, corner, columns, entries, first, count, sums, to, rows):
    """sums[i, r] = Σ_c inputs[r, c] W[k_i, c], in 16 parts that are yet to be added.

    Args:
        inputs: Flat; row r begins at `at` + r · `stride`.
        weights: Flat, packed by rows of `columns` columns; row 0 begins at `corner`.
        entries: int32, flat; the k are the `count` from `first` on, and `TOGETHER` more that are only fetched.
        sums: Flat; (count, rows, 16) from `to` on.
        rows: Literal.
    """
    lanes, height, unrolled = 16, rows.literal_value, BLOCK // 16
    aligned = inputs.dtype.bitwidth // 8
    signature = types.void(
        inputs, types.intp, types.intp, weights, types.intp, types.intp, entries, types.intp, types.intp, sums,
        types.intp, rows,
    )  # fmt: skip

    def emit(context, builder, sig, args):
        (x, x_at, x_stride, w, w_at, w_stride, listed, listed_at, number, y, y_at, _) = args
        vector = ir.VectorType(_real(inputs.dtype), lanes)
        zero = ir.Constant(vector, [0.0] * lanes)
        rows_at = _rows(context, builder, inputs, x, x_at, x_stride, height)
        list_at = address(context, builder, entries, listed, listed_at)
        base = address(context, builder, weights, w, w_at)
        total_at = address(context, builder, sums, y, y_at)

        def entry(i):
            k = builder.sext(builder.load(builder.gep(list_at, [i])), _INDEX)
            return builder.gep(base, [builder.mul(k, w_stride)])

        def one(i, state):
            line, ahead = entry(i), entry(builder.add(i, _INDEX(TOGETHER)))

            def along(block, totals):
                c = builder.mul(block, _INDEX(BLOCK))
                fetch(builder, builder.gep(ahead, [c]), BLOCK * weights.dtype.bitwidth // 8)
                made = []
                for n in range(unrolled):
                    place = builder.add(c, _INDEX(n * lanes))
                    weight = _weights_at(builder, builder.gep(line, [place]), lanes, weights.dtype, vector)
                    for r in range(height):
                        factor = vector_at(builder, builder.gep(rows_at[r], [place]), vector, aligned)
                        made.append(_multiply_add(builder, weight, factor, totals[n * height + r]))
                return made

            totals = loop(builder, builder.udiv(w_stride, _INDEX(BLOCK)), [zero] * (unrolled * height), along)
            for r in range(height):
                total = totals[r]
                for n in range(1, unrolled):
                    total = builder.fadd(total, totals[n * height + r])
                place = builder.mul(builder.add(builder.mul(i, _INDEX(height)), _INDEX(r)), _INDEX(lanes))
                store_vector(builder, total, builder.gep(total_at, [place]), aligned)
            return []

        loop(builder, number, [], one)
        return context.get_dummy_value()

    return signature, emit


def _rows(context, builder, kind, array, at, stride, count: int):
    return [
        address(context, builder, kind, array, builder.add(at, builder.mul(_INDEX(row), stride)))
        for row in range(count)
    ]


@intrinsic
def nothing(typing, array):
    """16 lanes of zeros of the array's type."""
    kind = Lanes(array.dtype, 16)

    def emit(context, builder, sig, args):
        return ir.Constant(context.get_value_type(kind), [0.0] * 16)

    return kind(array), emit


@intrinsic
def store_mask(typing, bits, index, mask):
    """Keep a mask of 16 lanes as a uint16."""

    def emit(context, builder, sig, args):
        builder.store(builder.bitcast(args[2], _SHORT), address(context, builder, sig.args[0], args[0], args[1]))
        return context.get_dummy_value()

    return types.void(bits, types.intp, mask), emit


@intrinsic
def load_mask(typing, bits, index):
    """The mask of 16 lanes that a uint16 keeps."""

    def emit(context, builder, sig, args):
        word = builder.load(address(context, builder, sig.args[0], args[0], args[1]))
        return builder.bitcast(word, ir.VectorType(ir.IntType(1), 16))

    return Lanes(types.boolean, 16)(bits, types.intp), emit
