"""Lanes from and to memory: of contiguous arrays of any shape by flat index, or from a pointer on that `flat` made."""

from __future__ import annotations

from llvmlite import ir
from llvmlite.binding import get_default_triple
from numba.core import cgutils, types
from numba.extending import intrinsic

from lipflow_kit.compiled.lanes import INDEX, Lanes, call, shuffled, splat


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


@intrinsic
def stream(typing, array, index, value):
    """As `store` where the address is a multiple of the lanes' bytes: past the caches, which reads nothing first.

    Other threads may see it after `settle`.
    """

    def emit(context, builder, sig, args):
        kind = sig.args[2]
        address = _address(context, builder, sig.args[0], args[0], args[1], kind)
        stored = builder.store(args[2], address, align=kind.count * kind.item.bitwidth // 8)
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), emit


@intrinsic
def settle(typing):
    """Wait until all that was stored, by `stream` too, may be seen by other threads."""

    def emit(context, builder, sig, args):
        builder.fence("seq_cst")
        if get_default_triple().startswith("x86_64"):  # whose own order is not kept by what goes past the caches
            call(builder, "llvm.x86.sse.sfence", ir.VoidType(), ())
        return context.get_dummy_value()

    return types.void(), emit


def _suffix(kind: Lanes) -> str:
    return f"v{kind.count}{'f' if kind.real else 'i'}{kind.item.bitwidth}"


def fetch_line(builder, pointer, nearness: int = 3) -> None:
    """LLVM's request for the line of memory with an address, to the nearest cache (3) or the second (2)."""
    address = builder.bitcast(pointer, cgutils.voidptr_t)
    call(builder, "llvm.prefetch.p0", ir.VoidType(), (address, INDEX(0), INDEX(nearness), INDEX(1)))


@intrinsic
def fetch(typing, array, index):
    """Ask for the line of memory with a contiguous array's number at flat `index` to be brought into the caches; there
    need not be one."""

    def emit(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        fetch_line(builder, builder.gep(data, [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


@intrinsic
def load_where(typing, array, index, mask, other):
    """As `load` where the mask holds, elsewhere the number `other`: memory there is not touched."""
    lanes = Lanes(array.dtype, mask.count)

    def emit(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1], lanes)
        rest = splat(builder, context.cast(builder, args[3], sig.args[3], lanes.item), lanes.count)
        operands = (address, INDEX(lanes.item.bitwidth // 8), args[2], rest)
        return call(builder, f"llvm.masked.load.{_suffix(lanes)}.p0", rest.type, operands)

    return lanes(array, types.intp, mask, other), emit


@intrinsic
def store_where(typing, array, index, value, mask):
    """As `store` where the mask holds; elsewhere memory is not touched."""

    def emit(context, builder, sig, args):
        kind = sig.args[2]
        address = _address(context, builder, sig.args[0], args[0], args[1], kind)
        operands = (args[2], address, INDEX(kind.item.bitwidth // 8), args[3])
        call(builder, f"llvm.masked.store.{_suffix(kind)}.p0", ir.VoidType(), operands)
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
    operands = (addresses, INDEX(kind.dtype.bitwidth // 8), everywhere, ir.Constant(result, ir.Undefined))
    return call(builder, f"llvm.masked.gather.v{count}{name}{bits}.v{count}p0", result, operands)


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
        return shuffled(
            builder, left, right, [lane for n in range(lanes.count // 2) for lane in (n, n + lanes.count // 2)]
        )

    return lanes(array, types.intp, index), emit
