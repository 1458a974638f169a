"""A numba type for several numbers that are computed with at once: what the hot loops of the kernels are written in.

Left alone, the compiler computes the few pixels of a triangle in a row, and the few channels of a texel, one by one:
its vectors start where a loop is long. `Lanes` are LLVM's vectors, which it turns into the machine's own, or into
several or into plain numbers where the machine's are narrower.

    low = minimum(load(screen, 4 * i, 4), load(screen, 4 * j, 4))  # four numbers from flat index 4 i and 4 j on
    inside = (low >= zero) & (low <= limit)                          # a mask
    store(screen, 4 * i, select(inside, low, zero * low))

Operators take lanes and plain numbers of the same type; the index of `load` and `store` counts numbers of a contiguous
array of any shape, or from a pointer on that `flat` made of one.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel.models import PrimitiveModel
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

_INDEX = ir.IntType(32)


class Lanes(types.Type):
    """`count` numbers of type `item` (a numba real or signed integer type, or boolean: a mask)."""

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


def _splat(builder, value, count: int):
    undefined = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(undefined, value, _INDEX(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INDEX, count), [0] * count))


def _spread(builder, kinds, values):
    """The operands as vectors: plain numbers become lanes of themselves."""
    count = next(kind.count for kind in kinds if isinstance(kind, Lanes))
    return [
        value if isinstance(kind, Lanes) else _splat(builder, value, count)
        for kind, value in zip(kinds, values, strict=True)
    ]


def _operand(kinds) -> Lanes | None:
    """The type that both operands have, or would have as lanes."""
    lanes = [kind for kind in kinds if isinstance(kind, Lanes)]
    if not lanes or any(kind not in (lanes[0], lanes[0].item) for kind in kinds):
        return None
    return lanes[0]


def _define(symbol, result, emit) -> None:
    """Give lanes an operator: `result(lanes)` is its type, `emit(builder, lanes, one, other)` its instruction."""

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


def _address(context, builder, kind, array, index, lanes):
    data = array if isinstance(kind, types.CPointer) else context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), context.get_value_type(lanes).as_pointer())


@intrinsic
def flat(typing, array):
    """A pointer to a contiguous array's numbers, to pass on in loops: arrays are counted at every turn."""

    def emit(context, builder, sig, args):
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), emit


@intrinsic(prefer_literal=True)
def load(typing, array, index, count):
    """`count` numbers of a contiguous array from flat `index` on."""
    lanes = Lanes(array.dtype, count.literal_value)

    def emit(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1], lanes)
        return builder.load(address, align=lanes.item.bitwidth // 8)

    return lanes(array, types.intp, count), emit


@intrinsic
def item(typing, array, index):
    """One number of a contiguous array of any shape, by its flat index."""

    def emit(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return context.unpack_value(builder, array.dtype, builder.gep(data, [args[1]]))

    return array.dtype(array, types.intp), emit


@intrinsic
def store(typing, array, index, value):
    """Write lanes into a contiguous array from flat `index` on."""

    def emit(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1], value)
        builder.store(args[2], address, align=value.item.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), emit


def _masked(context, builder, name: str, result, operands):
    """Call LLVM's masked memory intrinsic of that name."""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [operand.type for operand in operands]), name
    )
    return builder.call(function, operands)


def _suffix(kind: Lanes) -> str:
    return f"v{kind.count}{'f' if kind.real else 'i'}{kind.item.bitwidth}"


@intrinsic
def load_where(typing, array, index, mask, other):
    """As `load` where the mask holds, elsewhere the number `other`: memory there is not touched."""
    lanes = Lanes(array.dtype, mask.count)

    def emit(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1], lanes)
        rest = _splat(builder, context.cast(builder, args[3], sig.args[3], lanes.item), lanes.count)
        operands = (address, _INDEX(lanes.item.bitwidth // 8), args[2], rest)
        return _masked(context, builder, f"llvm.masked.load.{_suffix(lanes)}.p0", rest.type, operands)

    return lanes(array, types.intp, mask, other), emit


@intrinsic
def store_where(typing, array, index, value, mask):
    """As `store` where the mask holds; elsewhere memory is not touched."""

    def emit(context, builder, sig, args):
        kind = sig.args[2]
        address = _address(context, builder, sig.args[0], args[0], args[1], kind)
        operands = (args[2], address, _INDEX(kind.item.bitwidth // 8), args[3])
        _masked(context, builder, f"llvm.masked.store.{_suffix(kind)}.p0", ir.VoidType(), operands)
        return context.get_dummy_value()

    return types.void(array, types.intp, value, mask), emit


class _Addresses(ir.instructions.Instruction):
    """One address per lane of an index: what llvmlite's own `gep` has no form for."""

    def __init__(self, parent, item, base, index):
        super().__init__(parent, ir.VectorType(ir.PointerType(), index.type.count), "getelementptr", [base, index])
        self.item = item

    def descr(self, buf):
        base, index = self.operands
        buf.append(
            f"getelementptr {self.item}, {base.type} {base.get_reference()}, {index.type} {index.get_reference()}\n"
        )


def _gather(context, builder, kind, array, start, index, item, bits):
    """Numbers of LLVM type `item` and so many bits from array[start + index] on, as a vector."""
    data = context.make_array(kind)(context, builder, array).data
    element = context.get_data_type(kind.dtype)
    addresses = _Addresses(builder.block, element, builder.gep(data, [start]), index)
    builder._insert(addresses)
    count = index.type.count
    result = ir.VectorType(item, count)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(1), count), [True] * count)
    name = "i" if isinstance(item, ir.IntType) else "f"
    operands = (addresses, _INDEX(kind.dtype.bitwidth // 8), everywhere, ir.Constant(result, ir.Undefined))
    return _masked(context, builder, f"llvm.masked.gather.v{count}{name}{bits}.v{count}p0", result, operands)


@intrinsic
def gather(typing, array, start, index):
    """array[start + i] of a contiguous array for each lane i of `index` (int32)."""
    lanes = Lanes(array.dtype, index.count)

    def emit(context, builder, sig, args):
        item = context.get_value_type(lanes).element
        return _gather(context, builder, sig.args[0], *args, item, lanes.item.bitwidth)

    return lanes(array, types.intp, index), emit


@intrinsic
def gather_pairs(typing, array, start, index):
    """array[start + i] and array[start + i + 1] side by side for each lane i of `index`: twice as many lanes."""
    lanes = Lanes(array.dtype, 2 * index.count)

    def emit(context, builder, sig, args):
        if lanes.item == types.float32:  # two of them at once, as one double
            pairs = _gather(context, builder, sig.args[0], *args, ir.DoubleType(), 64)
            return builder.bitcast(pairs, context.get_value_type(lanes))
        item = context.get_value_type(lanes).element
        kind, (array_, start, index) = sig.args[0], args
        left = _gather(context, builder, kind, array_, start, index, item, lanes.item.bitwidth)
        after = builder.add(start, start.type(1))
        right = _gather(context, builder, kind, array_, after, index, item, lanes.item.bitwidth)
        return _shuffled(
            builder, left, right, [lane for n in range(lanes.count // 2) for lane in (n, n + lanes.count // 2)]
        )

    return lanes(array, types.intp, index), emit


def _shuffled(builder, one, other, picks: list[int]):
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_INDEX, len(picks)), picks))


def _rearranging(picks):
    """Lanes in another order, or some of them: `picks(count)` names them."""

    def typed(typing, value):
        chosen = picks(value.count)

        def emit(context, builder, sig, args):
            return _shuffled(builder, args[0], args[0], chosen)

        return Lanes(value.item, len(chosen))(value), emit

    return typed


evens = intrinsic(_rearranging(lambda count: list(range(0, count, 2))))
"""Every other lane from the first on."""
odds = intrinsic(_rearranging(lambda count: list(range(1, count, 2))))
"""Every other lane from the second on."""
doubled = intrinsic(_rearranging(lambda count: [n // 2 for n in range(2 * count)]))
"""Each lane twice, side by side."""


@intrinsic
def woven(typing, one, other):
    """The lanes of both in turn: the first of each, the second of each …"""

    def emit(context, builder, sig, args):
        count = one.count
        return _shuffled(builder, *args, [lane for n in range(count) for lane in (n, n + count)])

    return Lanes(one.item, 2 * one.count)(one, other), emit


@intrinsic(prefer_literal=True)
def lanes(typing, value, count):
    """The same number in each of `count` lanes."""
    kind = Lanes(types.unliteral(value), count.literal_value)

    def emit(context, builder, sig, args):
        return _splat(builder, context.cast(builder, args[0], sig.args[0], kind.item), kind.count)

    return kind(value, count), emit


@intrinsic
def joined(typing, numbers):
    """A tuple of numbers of one type as lanes."""
    kind = Lanes(numbers.dtype, numbers.count)

    def emit(context, builder, sig, args):
        made = ir.Constant(context.get_value_type(kind), ir.Undefined)
        for place in range(kind.count):
            made = builder.insert_element(made, builder.extract_value(args[0], place), _INDEX(place))
        return made

    return kind(numbers), emit


@intrinsic(prefer_literal=True)
def ramp(typing, start, count):
    """start, start + 1, start + 2 …"""
    item = types.unliteral(start)
    lanes = Lanes(item, count.literal_value)

    def emit(context, builder, sig, args):
        steps = ir.Constant(context.get_value_type(lanes), list(range(lanes.count)))
        first = _splat(builder, context.cast(builder, args[0], sig.args[0], item), lanes.count)
        return builder.fadd(first, steps) if lanes.real else builder.add(first, steps)

    return lanes(start, count), emit


@intrinsic(prefer_literal=True)
def lane(typing, value, index):
    """One of the numbers, by a literal index."""
    place = index.literal_value

    def emit(context, builder, sig, args):
        return builder.extract_element(args[0], _INDEX(place))

    return value.item(value, index), emit


@intrinsic
def select(typing, mask, one, other):
    """`one` where the mask holds, else `other`, which may be a plain number."""

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
"""The lesser of two lanes or of lanes and a number: the second where the first is NaN."""
maximum = intrinsic(_extremum(">"))
"""The greater of two lanes or of lanes and a number: the second where the first is NaN."""


def _rounding(name: str):
    def typed(typing, value):
        def emit(context, builder, sig, args):
            function = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(args[0].type, [args[0].type]),
                f"llvm.{name}.v{value.count}f{value.item.bitwidth}",
            )
            return builder.call(function, args)

        return value(value), emit

    return typed


floor = intrinsic(_rounding("floor"))
"""The greatest whole numbers not above."""
ceil = intrinsic(_rounding("ceil"))
"""The least whole numbers not below."""


@intrinsic
def whole(typing, value):
    """Real lanes cut off to int32; what does not fit becomes anything."""
    lanes = Lanes(types.int32, value.count)

    def emit(context, builder, sig, args):
        return builder.fptosi(args[0], context.get_value_type(lanes))

    return lanes(value), emit


@intrinsic
def real_like(typing, value, like):
    """int32 lanes as reals of the type of lanes `like`."""

    def emit(context, builder, sig, args):
        return builder.sitofp(args[0], context.get_value_type(like))

    return like(value, like), emit


@intrinsic
def bits_of(typing, mask):
    """A mask as a whole number (intp), its first lane the lowest bit."""

    def emit(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(mask.count)), ir.IntType(64))

    return types.intp(mask), emit


@intrinsic
def trailing_zeros(typing, bits):
    """How many of the lowest bits are 0; of a number that is not 0."""

    def emit(context, builder, sig, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.intp(types.intp), emit


@intrinsic
def leading(typing, mask):
    """How many lanes from the first on the mask holds for without a gap: intp."""

    def emit(context, builder, sig, args):
        # A bit beyond the lanes ends the count where the mask holds for all.
        bits = builder.zext(builder.bitcast(builder.not_(args[0]), ir.IntType(mask.count)), ir.IntType(64))
        bits = builder.or_(bits, ir.IntType(64)(1 << mask.count))
        return builder.cttz(bits, ir.IntType(1)(1))

    return types.intp(mask), emit


@intrinsic
def total(typing, value):
    """The sum of all lanes: halves are added to each other until one number is left."""

    def emit(context, builder, sig, args):
        rest, count = args[0], value.count
        while count > 1:
            count //= 2
            parts = [
                builder.shuffle_vector(
                    rest, rest, ir.Constant(ir.VectorType(_INDEX, count), list(range(first, first + count)))
                )
                for first in (0, count)
            ]
            rest = builder.fadd(*parts) if value.real else builder.add(*parts)
        return builder.extract_element(rest, _INDEX(0))

    return value.item(value), emit
