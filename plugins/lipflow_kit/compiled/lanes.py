"""SIMD vectors as a numba type, for inner loops that are too short for the compiler to vectorise.

`Lanes` are LLVM's vectors: LLVM maps them to the machine's own, or to several of these or to scalars where those of the
machine are narrower.

    low = minimum(load(screen, 4 * i, 4), load(screen, 4 * j, 4))  # four numbers from flat index 4 i and 4 j on
    inside = (low >= zero) & (low <= limit)                          # a mask
    store(screen, 4 * i, select(inside, low, zero * low))

Operators are + - * / & | and comparisons, of lanes with lanes or with scalars of the same type. `memory` loads and
stores lanes.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel.models import PrimitiveModel
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

INDEX = ir.IntType(32)


class Lanes(types.Type):
    """Defines the type of a vector of numbers.

    Args:
        item: Type of the numbers: a real or signed integer type of numba, or boolean for a mask.
        count: Number of lanes.
    """

    def __init__(self, item: types.Type, count: int):
        self.item, self.count = item, count
        super().__init__(f"Lanes({item}, {count})")

    @property
    def real(self) -> bool:
        return isinstance(self.item, types.Float)


@register_model(Lanes)
class _LanesModel(PrimitiveModel):
    def __init__(self, manager, kind: Lanes):
        reals = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.boolean: ir.IntType(1)}
        item = reals[kind.item] if kind.item in reals else ir.IntType(kind.item.bitwidth)
        super().__init__(manager, kind, ir.VectorType(item, kind.count))


def splat(builder, value, count: int):
    """Emit a vector of one number, repeated."""
    undefined = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(undefined, value, INDEX(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INDEX, count), [0] * count))


def call(builder, name: str, result, operands):
    """Emit a call of a function or of LLVM's intrinsic of that name."""
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)


def _spread(builder, kinds, values):
    """Emit the operands as vectors: scalars are repeated."""
    count = next(kind.count for kind in kinds if isinstance(kind, Lanes))
    return [
        value if isinstance(kind, Lanes) else splat(builder, value, count)
        for kind, value in zip(kinds, values, strict=True)
    ]


def _operand(kinds) -> Lanes | None:
    """Find the type of lanes that both operands have or can be repeated to; None if they do not match."""
    lanes = [kind for kind in kinds if isinstance(kind, Lanes)]
    if not lanes or any(kind not in (lanes[0], lanes[0].item) for kind in kinds):
        return None
    return lanes[0]


def _define(symbol, result, emit) -> None:
    """Define an operator of lanes.

    Args:
        symbol: Python's operator.
        result: Gives the type of its result from that of its operands.
        emit: Emits its instruction from (builder, lanes, one, other).
    """

    @infer_global(symbol)
    class _Operator(AbstractTemplate):
        def generic(self, args, kws):
            lanes = _operand(args) if len(args) == 2 else None
            return None if lanes is None else signature(result(lanes), *args)

    def lower(context, builder, sig, args):
        return emit(builder, _operand(sig.args), *_spread(builder, sig.args, args))

    for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(symbol, *kinds)(lower)


def _arithmetic(real: str, whole: str):
    return lambda builder, lanes, one, other: getattr(builder, real if lanes.real else whole)(one, other)


def _comparison(symbol: str):
    def emit(builder, lanes, one, other):
        if lanes.real:
            return (builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered)(symbol, one, other)
        return builder.icmp_signed(symbol, one, other)

    return emit


for _symbol, _real, _whole in (
    (operator.add, "fadd", "add"),
    (operator.sub, "fsub", "sub"),
    (operator.mul, "fmul", "mul"),
):
    _define(_symbol, lambda lanes: lanes, _arithmetic(_real, _whole))
_define(operator.truediv, lambda lanes: lanes, lambda builder, lanes, one, other: builder.fdiv(one, other))
_define(operator.and_, lambda lanes: lanes, lambda builder, lanes, one, other: builder.and_(one, other))
_define(operator.or_, lambda lanes: lanes, lambda builder, lanes, one, other: builder.or_(one, other))
for _symbol, _text in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _define(_symbol, lambda lanes: Lanes(types.boolean, lanes.count), _comparison(_text))


def shuffled(builder, one, other, picks: list[int]):
    """Emit a vector of some lanes of two vectors; `picks` counts through both."""
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(INDEX, len(picks)), picks))


def _rearranging(picks):
    """Make an intrinsic that rearranges lanes; `picks(count)` lists the lanes that it takes."""

    def typed(typing, value):
        chosen = picks(value.count)

        def emit(context, builder, sig, args):
            return shuffled(builder, args[0], args[0], chosen)

        return Lanes(value.item, len(chosen))(value), emit

    return typed


evens = intrinsic(_rearranging(lambda count: list(range(0, count, 2))))
"""Lanes 0, 2, 4 …"""
odds = intrinsic(_rearranging(lambda count: list(range(1, count, 2))))
"""Lanes 1, 3, 5 …"""
doubled = intrinsic(_rearranging(lambda count: [n // 2 for n in range(2 * count)]))
"""Lanes 0, 0, 1, 1 …"""


@intrinsic
def interleaved(typing, one, other):
    """Lane 0 of both, lane 1 of both …"""

    def emit(context, builder, sig, args):
        count = one.count
        return shuffled(builder, *args, [lane for n in range(count) for lane in (n, n + count)])

    return Lanes(one.item, 2 * one.count)(one, other), emit


@intrinsic(prefer_literal=True)
def lanes(typing, value, count):
    """Repeat a number in `count` lanes."""
    kind = Lanes(types.unliteral(value), count.literal_value)

    def emit(context, builder, sig, args):
        return splat(builder, context.cast(builder, args[0], sig.args[0], kind.item), kind.count)

    return kind(value, count), emit


@intrinsic
def joined(typing, numbers):
    """Join the numbers of a tuple, all of one type, as lanes."""
    kind = Lanes(numbers.dtype, numbers.count)

    def emit(context, builder, sig, args):
        made = ir.Constant(context.get_value_type(kind), ir.Undefined)
        for place in range(kind.count):
            made = builder.insert_element(made, builder.extract_value(args[0], place), INDEX(place))
        return made

    return kind(numbers), emit


@intrinsic(prefer_literal=True)
def ramp(typing, start, count):
    """Make the lanes start, start + 1, start + 2 …, `count` of them."""
    item = types.unliteral(start)
    lanes = Lanes(item, count.literal_value)

    def emit(context, builder, sig, args):
        steps = ir.Constant(context.get_value_type(lanes), list(range(lanes.count)))
        first = splat(builder, context.cast(builder, args[0], sig.args[0], item), lanes.count)
        return builder.fadd(first, steps) if lanes.real else builder.add(first, steps)

    return lanes(start, count), emit


@intrinsic(prefer_literal=True)
def lane(typing, value, index):
    """Take one of the numbers by a literal index."""
    place = index.literal_value

    def emit(context, builder, sig, args):
        return builder.extract_element(args[0], INDEX(place))

    return value.item(value, index), emit


@intrinsic
def select(typing, mask, one, other):
    """Take the lanes of `one` where the mask is true, else those of `other`, which may be a scalar."""

    def emit(context, builder, sig, args):
        return builder.select(args[0], *_spread(builder, sig.args[1:], args[1:]))

    return one(mask, one, other), emit


def _extremum(symbol: str):
    def typed(typing, one, other):
        def emit(context, builder, sig, args):
            one, other = _spread(builder, sig.args, args)
            return builder.select(_comparison(symbol)(builder, _operand(sig.args), one, other), one, other)

        return _operand((one, other))(one, other), emit

    return typed


minimum = intrinsic(_extremum("<"))
"""The lesser of lanes and lanes or a scalar, lane by lane; the second operand where either is NaN."""
maximum = intrinsic(_extremum(">"))
"""The greater of lanes and lanes or a scalar, lane by lane; the second operand where either is NaN."""


def _rounding(name: str):
    def typed(typing, value):
        def emit(context, builder, sig, args):
            return call(builder, f"llvm.{name}.v{value.count}f{value.item.bitwidth}", args[0].type, args)

        return value(value), emit

    return typed


floor = intrinsic(_rounding("floor"))
"""Real lanes rounded down."""
ceil = intrinsic(_rounding("ceil"))
"""Real lanes rounded up."""


@intrinsic
def truncated(typing, value):
    """Real lanes as int32, rounded towards zero; the result is undefined where it does not fit."""
    lanes = Lanes(types.int32, value.count)

    def emit(context, builder, sig, args):
        return builder.fptosi(args[0], context.get_value_type(lanes))

    return lanes(value), emit


@intrinsic
def real_like(typing, value, like):
    """Convert int32 lanes to reals, in the type of the lanes `like`."""

    def emit(context, builder, sig, args):
        return builder.sitofp(args[0], context.get_value_type(like))

    return like(value, like), emit


@intrinsic
def bits_of(typing, mask):
    """Convert a mask to the bits of an intp; lane 0 is the lowest bit."""

    def emit(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(mask.count)), ir.IntType(64))

    return types.intp(mask), emit


@intrinsic
def trailing_zeros(typing, bits):
    """Count the zeros below the lowest bit that is set; undefined for 0."""

    def emit(context, builder, sig, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.intp(types.intp), emit


@intrinsic
def total(typing, value):
    """Sum all lanes, whose number is a power of two: halves are added until one number is left."""

    def emit(context, builder, sig, args):
        rest, count = args[0], value.count
        while count > 1:
            count //= 2
            parts = [
                builder.shuffle_vector(
                    rest, rest, ir.Constant(ir.VectorType(INDEX, count), list(range(first, first + count)))
                )
                for first in (0, count)
            ]
            rest = builder.fadd(*parts) if value.real else builder.add(*parts)
        return builder.extract_element(rest, INDEX(0))

    return value.item(value), emit
