"""Loads and stores of lanes, for contiguous arrays of any shape.

Indices are flat: they count numbers from the array's first one. Nothing is checked: an index outside of the array reads
or writes other memory.
"""

from __future__ import annotations

from llvmlite import ir
from llvmlite.binding import get_default_triple
from numba.core import cgutils, types
from numba.extending import intrinsic

from lipflow_kit.compiled.lanes import INDEX, Lanes, call, shuffled, splat


def _address(context, builder, kind, array, index, lanes):
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), context.get_value_type(lanes).as_pointer())


@intrinsic(prefer_literal=True)
def load(typing, array, index, count):
    """Load `count` lanes from `index` on."""
    lanes = Lanes(array.dtype, count.literal_value)

    def emit(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1], lanes)
        return builder.load(address, align=lanes.item.bitwidth // 8)

    return lanes(array, types.intp, count), emit


@intrinsic
def item(typing, array, index):
    """Load the number at `index`."""

    def emit(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return context.unpack_value(builder, array.dtype, builder.gep(data, [args[1]]))

    return array.dtype(array, types.intp), emit


@intrinsic
def store(typing, array, index, value):
    """Store lanes from `index` on."""

    def emit(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1], value)
        builder.store(args[2], address, align=value.item.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), emit


@intrinsic
def stream(typing, array, index, value):
    """Store lanes from `index` on, past the caches, so that the cache lines need not be read first.

    The address must be a multiple of the lanes' size in bytes. Other threads see the values after `fence`.
    """

    def emit(context, builder, sig, args):
        kind = sig.args[2]
        address = _address(context, builder, sig.args[0], args[0], args[1], kind)
        stored = builder.store(args[2], address, align=kind.count * kind.item.bitwidth // 8)
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), emit


@intrinsic
def fence(typing):
    """Make all earlier stores, those of `stream` included, visible to other threads."""

    def emit(context, builder, sig, args):
        builder.fence("seq_cst")
        if get_default_triple().startswith("x86_64"):  # where streaming stores are not ordered by a fence alone
            call(builder, "llvm.x86.sse.sfence", ir.VoidType(), ())
        return context.get_dummy_value()

    return types.void(), emit


def _suffix(kind: Lanes) -> str:
    return f"v{kind.count}{'f' if kind.real else 'i'}{kind.item.bitwidth}"


@intrinsic
def fetch(typing, array, index):
    """Prefetch the cache line of the number at `index`, which may lie outside of the array."""

    def emit(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        address = builder.bitcast(builder.gep(data, [args[1]]), cgutils.voidptr_t)
        # To be read (0), into the first-level cache (3), as data (1).
        call(builder, "llvm.prefetch.p0", ir.VoidType(), (address, INDEX(0), INDEX(3), INDEX(1)))
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


@intrinsic
def load_where(typing, array, index, mask, other):
    """Load lanes from `index` on where the mask is true; elsewhere memory is not read and the lane is `other`."""
    lanes = Lanes(array.dtype, mask.count)

    def emit(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1], lanes)
        rest = splat(builder, context.cast(builder, args[3], sig.args[3], lanes.item), lanes.count)
        operands = (address, INDEX(lanes.item.bitwidth // 8), args[2], rest)
        return call(builder, f"llvm.masked.load.{_suffix(lanes)}.p0", rest.type, operands)

    return lanes(array, types.intp, mask, other), emit


@intrinsic
def store_where(typing, array, index, value, mask):
    """Store lanes from `index` on where the mask is true; elsewhere memory is not written."""

    def emit(context, builder, sig, args):
        kind = sig.args[2]
        address = _address(context, builder, sig.args[0], args[0], args[1], kind)
        operands = (args[2], address, INDEX(kind.item.bitwidth // 8), args[3])
        call(builder, f"llvm.masked.store.{_suffix(kind)}.p0", ir.VoidType(), operands)
        return context.get_dummy_value()

    return types.void(array, types.intp, value, mask), emit


class _Addresses(ir.instructions.Instruction):
    """LLVM's getelementptr with a vector of indices, which llvmlite's own `gep` does not emit."""

    def __init__(self, parent, item, base, index):
        super().__init__(parent, ir.VectorType(ir.PointerType(), index.type.count), "getelementptr", [base, index])
        self.item = item

    def descr(self, buf):
        base, index = self.operands
        buf.append(
            f"getelementptr {self.item}, {base.type} {base.get_reference()}, {index.type} {index.get_reference()}\n"
        )


def _gather(context, builder, kind, array, start, index, item, bits):
    """Emit a gather at start + index of numbers of LLVM type `item`, which has `bits` bits."""
    data = context.make_array(kind)(context, builder, array).data
    element = context.get_data_type(kind.dtype)
    addresses = _Addresses(builder.block, element, builder.gep(data, [start]), index)
    builder._insert(addresses)
    count = index.type.count
    result = ir.VectorType(item, count)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(1), count), [True] * count)
    name = "i" if isinstance(item, ir.IntType) else "f"
    operands = (addresses, INDEX(kind.dtype.bitwidth // 8), everywhere, ir.Constant(result, ir.Undefined))
    return call(builder, f"llvm.masked.gather.v{count}{name}{bits}.v{count}p0", result, operands)


@intrinsic
def gather_pairs(typing, array, start, index):
    """Gather the numbers at start + i and start + i + 1, side by side, for each lane i of `index`."""
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
        return shuffled(
            builder, left, right, [lane for n in range(lanes.count // 2) for lane in (n, n + lanes.count // 2)]
        )

    return lanes(array, types.intp, index), emit
