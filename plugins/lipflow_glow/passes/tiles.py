"""Products by a CPU's matrix unit (Intel AMX), exact to float32: each number is split into three of bfloat16.

float32 has 24 binary digits, bfloat16 eight: x = x₀ + x₁ + x₂ holds exactly, and of the nine products of such parts
the six largest give x · w to 2⁻²⁴. The unit multiplies bfloat16 sixteen times as fast as vectors multiply float32, so
that six products are still faster than one. bfloat16 weights need one product.

A tile is 16 rows of 64 bytes. Inputs are kept as tiles of 16 rows and 32 columns, contiguous, all of one part after
all of another; a block of 64 columns of weights is split into tiles of two inputs side by side when it is used, in a
buffer that stays in the second-level cache. Where the CPU has no such unit, these functions are empty and never called.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache

from llvmlite import ir
from numba.core import cgutils, config, types
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from lipflow_glow.passes.layout import BLOCK, PARTS, TILE
from lipflow_glow.passes.microkernels import address, call, fetch, loop, splat, store_vector, vector_at

AHEAD = 64 * BLOCK
"""Weights that are fetched before they are split."""
FETCHED = 512
"""Bytes of the weights to come that are fetched at every step of a product."""

_INDEX, _SHORT, _WORD, _BYTE = ir.IntType(64), ir.IntType(16), ir.IntType(32), ir.IntType(8)
_WORDS, _REALS = ir.VectorType(_WORD, 16), ir.VectorType(ir.FloatType(), 16)
_ARCH_REQ_XCOMP_PERM, _XTILEDATA = 0x1023, 18


@cache
def usable() -> bool:
    """Whether CPU, compiler and operating system let this process use the matrix unit; asks the last for it."""
    features = config.CPU_FEATURES if config.CPU_FEATURES is not None else get_host_cpu_features()
    if "+amx-bf16" not in features or "+avx512f" not in features or config.CPU_NAME == "generic":
        return False
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return False
    arch_prctl = 158
    return ctypes.CDLL(None).syscall(arch_prctl, _ARCH_REQ_XCOMP_PERM, _XTILEDATA) == 0


def _tile(number: int):
    return _BYTE(number)


def _bytes(builder, pointer):
    return builder.bitcast(pointer, cgutils.voidptr_t)


@intrinsic
def configure(typing):
    """Make all tiles 16 rows of 64 bytes, for this thread."""

    def emit(context, builder, sig, args):
        if usable():
            shape = bytes([1, *[0] * 15, *[64, 0] * 8, *[0] * 16, *[16] * 8, *[0] * 8])
            place = cgutils.alloca_once(builder, ir.ArrayType(_BYTE, 64))
            builder.store(ir.Constant(ir.ArrayType(_BYTE, 64), bytearray(shape)), place)
            call(builder, "llvm.x86.ldtilecfg", ir.VoidType(), [_bytes(builder, place)])
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def release(typing):
    """Give the tiles back: the operating system need not keep them for this thread any longer."""

    def emit(context, builder, sig, args):
        if usable():
            call(builder, "llvm.x86.tilerelease", ir.VoidType(), [])
        return context.get_dummy_value()

    return types.void(), emit


def _split(builder, value, rounded: bool):
    """The parts of 16 float32 numbers, as words whose upper half is the bfloat16."""
    upper = splat(builder, _WORD(0xFFFF0000), 16)
    parts = []
    for part in range(PARTS):
        words = builder.bitcast(value, _WORDS)
        if part == 0 and rounded:
            words = builder.add(words, splat(builder, _WORD(0x8000), 16))
        words = builder.and_(words, upper)
        parts.append(words)
        value = builder.fsub(value, builder.bitcast(words, _REALS))
    return parts


@intrinsic
def store_parts(typing, value, tiles, to, distance, count):
    """Store 16 float32 lanes as bfloat16 from flat index `to` on, and all but the first part `distance` apart.

    Args:
        count: 1 or `PARTS`; one part is the number rounded to bfloat16.
    """

    def emit(context, builder, sig, args):
        if usable() and value.item == types.float32:
            shift = splat(builder, _WORD(16), 16)
            for part, words in enumerate(_split(builder, args[0], rounded=True)):
                halves = builder.trunc(builder.lshr(words, shift), ir.VectorType(_SHORT, 16))
                index = builder.add(args[2], builder.mul(_INDEX(part), args[3]))
                with builder.if_then(builder.icmp_signed("<", _INDEX(part), args[4])):
                    store_vector(builder, halves, address(context, builder, sig.args[1], args[1], index), 2)
        return context.get_dummy_value()

    return types.void(value, tiles, types.intp, types.intp, types.intp), emit


@intrinsic
def split_block(typing, weights, block, steps, tiles, to):
    """A packed block of weights as tiles (steps, 4 tiles of columns, parts, 16 pairs of inputs, 16 columns, 2).

    Args:
        weights: Flat, float32 or, as uint16, bfloat16; the block begins at `block` and has 32 · `steps` inputs.
        tiles: uint16, flat; written from `to` on.
    """
    signature = types.void(weights, types.intp, types.intp, tiles, types.intp)

    def emit(context, builder, sig, args):
        if not usable() or weights.dtype not in (types.float32, types.uint16):
            return context.get_dummy_value()
        narrow = weights.dtype == types.uint16
        source = address(context, builder, weights, args[0], args[1])
        target = address(context, builder, tiles, args[3], args[4])
        upper, shift = splat(builder, _WORD(0xFFFF0000), 16), splat(builder, _WORD(16), 16)
        parts = 1 if narrow else PARTS

        def numbers(pair, which, column):
            line = builder.add(builder.mul(builder.add(builder.mul(pair, _INDEX(2)), _INDEX(which)), _INDEX(BLOCK)),
                               _INDEX(16 * column))  # fmt: skip
            pointer = builder.gep(source, [line])
            if narrow:
                return [builder.zext(vector_at(builder, pointer, ir.VectorType(_SHORT, 16), 2), _WORDS)]
            return _split(builder, vector_at(builder, pointer, _REALS, 4), rounded=False)

        def body(pair, state):
            pair_at = builder.gep(source, [builder.mul(pair, _INDEX(2 * BLOCK))])
            fetch(builder, builder.gep(pair_at, [_INDEX(AHEAD)]), 2 * BLOCK * weights.dtype.bitwidth // 8)
            # The pair's row within its tile, the tile within its column of tiles.
            place = builder.add(builder.mul(builder.lshr(pair, _INDEX(4)), _INDEX(TILE * BLOCK // 16 * parts)),
                                builder.mul(builder.and_(pair, _INDEX(15)), _INDEX(32)))  # fmt: skip
            for column in range(BLOCK // 16):
                both = zip(numbers(pair, 0, column), numbers(pair, 1, column), strict=True)
                for part, (one, other) in enumerate(both):
                    if narrow:
                        word = builder.or_(one, builder.shl(other, shift))
                    else:
                        word = builder.or_(builder.lshr(one, shift), builder.and_(other, upper))
                    index = builder.add(place, _INDEX(TILE * (column * parts + part)))
                    store_vector(builder, word, builder.gep(target, [index]), 2)
            return []

        loop(builder, builder.mul(args[2], _INDEX(16)), [], body)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def multiply(typing, tiles, at, distance, factors, first, steps, sums, to, weights, following):
    """sums = inputs W for 16 rows and a block of columns.

    Args:
        tiles: uint16, flat; the rows' tiles of 32 columns each follow each other from `at` on, parts `distance` apart.
        factors: uint16, flat; what `split_block` made, from `first` on.
        steps: How many tiles of inputs there are.
        sums: float32, flat; (16, BLOCK) from `to` on.
        weights, following: The packed weights; so much as there is time for is fetched from `following` on.
    """
    signature = types.void(
        tiles, types.intp, types.intp, factors, types.intp, types.intp, sums, types.intp, weights, types.intp
    )

    def emit(context, builder, sig, args):
        if not usable() or sums.dtype != types.float32:
            return context.get_dummy_value()
        parts = 1 if weights.dtype == types.uint16 else PARTS
        inputs = [
            _bytes(builder, address(context, builder, tiles, args[0], builder.add(args[1], builder.mul(_INDEX(p), args[2]))))
            for p in range(parts)
        ]
        made = _bytes(builder, address(context, builder, factors, args[3], args[4]))
        next_at = _bytes(builder, address(context, builder, weights, args[8], args[9]))
        void, columns, factor = ir.VoidType(), BLOCK // 16, _tile(7)
        for column in range(columns):
            call(builder, "llvm.x86.tilezero", void, [_tile(column)])

        def body(step, state):
            offset = builder.mul(step, _INDEX(2 * TILE))
            fetch(builder, builder.gep(next_at, [builder.mul(step, _INDEX(FETCHED))]), FETCHED, nearness=2)
            for part, pointer in enumerate(inputs):
                place = builder.gep(pointer, [offset])
                call(builder, "llvm.x86.tileloadd64", void, [_tile(columns + part), place, _INDEX(64)])
            step_at = builder.gep(made, [builder.mul(step, _INDEX(2 * TILE * columns * parts))])
            for column in range(columns):
                for other in range(parts):
                    place = builder.gep(step_at, [_INDEX(2 * TILE * (column * parts + other))])
                    call(builder, "llvm.x86.tileloadd64", void, [factor, place, _INDEX(64)])
                    for part in range(parts - other):
                        call(builder, "llvm.x86.tdpbf16ps", void, [_tile(column), _tile(columns + part), factor])
            return []

        loop(builder, args[5], [], body)
        for column in range(columns):
            place = _bytes(builder, address(context, builder, sums, args[6], builder.add(args[7], _INDEX(16 * column))))
            call(builder, "llvm.x86.tilestored64", void, [_tile(column), place, _INDEX(4 * BLOCK)])
        return context.get_dummy_value()

    return signature, emit
