"""The innermost loops, written in LLVM's terms: a few rows times a block of `BLOCK` columns of a packed matrix.

A matrix of K inputs and N outputs is packed as (N / BLOCK, K, BLOCK): the weights of a block lie in the order that they
are read in, and one entry, what one input gives to the block's outputs, is four lines of cache in float32. That serves
both products of a vector with it: inputs that are zero, as half of those behind a ReLU, are left out of x W by
`accumulate`, and outputs that are not wanted, as behind a ReLU's zeros, out of g Wᵀ by `dots`; either way half of
the matrix is never read. `entries` lists those that are left, so far ahead that they can be fetched from memory
before they are needed: left to itself, a core here reads at a third of the speed that it reads at with that.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils, types
from numba.extending import intrinsic

from lipflow_core.compiled.lanes import Lanes
from lipflow_glow.passes.layout import BLOCK

AHEAD = 32
"""Entries that are fetched before they are used; 8 KB in float32."""

_WIDE = bool(get_host_cpu_features().get("avx512f"))
_REGISTER = 64 if _WIDE else 32
# Sums held at once: half of the vector registers, for products to start before others end and without spilling.
_SUMS = 16 if _WIDE else 8
_LINE = 64
GROUP = 8 if _WIDE else 4
"""Rows that `accumulate` should take where there are as many."""
LISTING = 4
"""Up to so many rows it may fetch by the list."""
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


def splat(builder, value, count: int):
    """A vector of one number."""
    undefined = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(undefined, value, _WORD(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_WORD, count), [0] * count))


def call(builder, name: str, result, arguments):
    """Call one of LLVM's intrinsics."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


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
        arguments = [builder.gep(place, [_INDEX(line)]), _WORD(0), _WORD(nearness), _WORD(1)]
        call(builder, "llvm.prefetch.p0", ir.VoidType(), arguments)


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
        weights: Flat, packed; the block begins at `block`. uint16 is bfloat16.
        entries: int32, flat; the k are the `count` from `first` on.
        following, pace: What is fetched meanwhile: if `pace` is 0, the entry `AHEAD` of each in the list; else with
            the i-th entry the two lines from `following` + i · `pace` on.
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
        place = [builder.add(x_at, builder.mul(_INDEX(r), x_stride)) for r in range(height)]
        rows_at = [address(context, builder, inputs, x, index) for index in place]
        list_at = address(context, builder, entries, listed, listed_at)
        span = lanes * width * weights.dtype.bitwidth // 8

        def pass_over(left, by_list):
            corner = address(context, builder, weights, w, builder.add(w_at, _INDEX(left)))
            advance = builder.mul(builder.mul(number, steps), _INDEX(left // (lanes * width)))
            after = address(context, builder, weights, w, builder.add(next_at, advance))

            def entry(i):
                k = builder.sext(builder.load(builder.gep(list_at, [i])), _INDEX)
                return k, builder.gep(corner, [builder.mul(k, _INDEX(BLOCK))])

            def body(i, totals):
                if by_list:
                    fetch(builder, entry(builder.add(i, _INDEX(AHEAD)))[1], span)
                else:
                    fetch(builder, builder.gep(after, [builder.mul(i, steps)]), 2 * _LINE, nearness=2)
                k, line = entry(i)
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
            for r in range(height):
                for v in range(width):
                    where = builder.add(y_at, _INDEX(r * BLOCK + left + v * lanes))
                    store_vector(builder, totals[r * width + v], address(context, builder, sums, y, where), aligned)

        for left in range(0, BLOCK, lanes * width):
            if height <= LISTING:
                with builder.if_else(builder.icmp_signed("==", steps, _INDEX(0))) as (listing, pacing):
                    with listing:
                        pass_over(left, True)
                    with pacing:
                        pass_over(left, False)
            else:
                pass_over(left, False)
        passes = _INDEX(BLOCK // (lanes * width))
        return builder.add(next_at, builder.mul(builder.mul(number, steps), passes))

    return signature, emit


@intrinsic(prefer_literal=True)
def dots(typing, inputs, at, stride, weights, block, entries, first, count, jump, sums, to, rows):
    """sums[i, r] += Σ_c inputs[r, c] W[k_i, c], in 16 parts that are yet to be added, over a block's columns.

    Args:
        inputs: Flat; what row r has for the block's columns begins at `at` + r · `stride`.
        weights, block, entries, first, count: As in `accumulate`.
        jump: How far on lies what is fetched meanwhile.
        sums: Flat; (count, rows, 16) from `to` on.
        rows: Literal, 1 or 2.
    """
    lanes, height = 16, rows.literal_value
    aligned = inputs.dtype.bitwidth // 8
    signature = types.void(
        inputs, types.intp, types.intp, weights, types.intp, entries, types.intp, types.intp, types.intp, sums,
        types.intp, rows,
    )  # fmt: skip

    def emit(context, builder, sig, args):
        (x, x_at, x_stride, w, w_at, listed, listed_at, number, distance, y, y_at, _) = args
        vector = ir.VectorType(_real(inputs.dtype), lanes)
        corner = address(context, builder, weights, w, w_at)
        list_at = address(context, builder, entries, listed, listed_at)
        total_at = address(context, builder, sums, y, y_at)
        factors = []
        for r in range(height):
            row = address(context, builder, inputs, x, builder.add(x_at, builder.mul(_INDEX(r), x_stride)))
            for v in range(0, BLOCK, lanes):
                factors.append(vector_at(builder, builder.gep(row, [_INDEX(v)]), vector, aligned))

        def body(i, state):
            k = builder.sext(builder.load(builder.gep(list_at, [i])), _INDEX)
            line = builder.gep(corner, [builder.mul(k, _INDEX(BLOCK))])
            fetch(builder, builder.gep(line, [distance]), BLOCK * weights.dtype.bitwidth // 8)
            columns = [
                _weights_at(builder, builder.gep(line, [_INDEX(v)]), lanes, weights.dtype, vector)
                for v in range(0, BLOCK, lanes)
            ]
            for r in range(height):
                place = builder.gep(total_at, [builder.mul(builder.add(builder.mul(i, _INDEX(height)), _INDEX(r)),
                                                           _INDEX(lanes))])  # fmt: skip
                total = vector_at(builder, place, vector, aligned)
                for v, column in enumerate(columns):
                    total = _multiply_add(builder, column, factors[r * len(columns) + v], total)
                store_vector(builder, total, place, aligned)
            return []

        loop(builder, number, [], body)
        return context.get_dummy_value()

    return signature, emit


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
