"""Products by a CPU's matrix unit (Intel AMX), exact to float32: each number is split into three of bfloat16.

float32 has 24 binary digits, bfloat16 eight: x = x₀ + x₁ + x₂ holds exactly, and of the nine products of such parts
the six largest give x · w to 2⁻²⁴. The unit multiplies bfloat16 sixteen times as fast as vectors multiply float32, so
that six products are still faster than one. bfloat16 weights need one product.

A tile is 16 rows of 64 bytes. Inputs are kept as tiles of 16 rows and 32 columns, all of one part after all of
another; weights as tiles of 16 columns and pairs of inputs, in the order that they are read in. Where the CPU has no
such unit, these functions are empty and never called.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache

from lipflow_kit.compiled.lanes import call, splat
from llvmlite import ir
from numba.core import cgutils, config, types
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from lipflow_glow.passes.layout import BLOCK, PARTS, TILE
from lipflow_glow.passes.microkernels import address, loop, store_vector

COLUMNS = 2
"""Tiles of columns that are computed together."""

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


def _split(builder, value):
    """The parts of 16 float32 numbers, as words whose upper half is the bfloat16; the first is rounded."""
    upper = splat(builder, _WORD(0xFFFF0000), 16)
    parts = []
    for part in range(PARTS):
        words = builder.bitcast(value, _WORDS)
        if part == 0:
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
            for part, words in enumerate(_split(builder, args[0])):
                halves = builder.trunc(builder.lshr(words, shift), ir.VectorType(_SHORT, 16))
                index = builder.add(args[2], builder.mul(_INDEX(part), args[3]))
                with builder.if_then(builder.icmp_signed("<", _INDEX(part), args[4])):
                    store_vector(builder, halves, address(context, builder, sig.args[1], args[1], index), 2)
        return context.get_dummy_value()

    return types.void(value, tiles, types.intp, types.intp, types.intp), emit


@intrinsic(prefer_literal=True)
def multiply(typing, tiles, at, apart, distance, weights, block, steps, sums, to, groups, parts):
    """sums = inputs W for 16 or 32 rows and 32 columns.

    Args:
        tiles: uint16, flat; 16 rows' tiles of 32 columns each follow each other from `at` on, the next 16 rows' begin
            `apart` further on, parts `distance` further on.
        weights: int16, flat; from `block` on tiles (steps, 2 tiles of columns, parts, 16 pairs of inputs, 16, 2).
        steps: How many tiles of inputs there are.
        sums: float32, flat; rows of BLOCK, of which these columns begin at `to`.
        groups: Literal, of 16 rows.
        parts: Literal, of the weights.
    """
    signature = types.void(
        tiles, types.intp, types.intp, types.intp, weights, types.intp, types.intp, sums, types.intp, groups, parts
    )
    height, width, number = groups.literal_value, COLUMNS, parts.literal_value
    # The larger products last but one: so that few tiles are loaded anew, not for the order of the sum.
    products = [(0, 2), (0, 1), (0, 0), (2, 0), (1, 0), (1, 1)] if number == PARTS else [(0, 0)]

    def emit(context, builder, sig, args):
        if not usable() or sums.dtype != types.float32:
            return context.get_dummy_value()
        (x, x_at, x_apart, x_distance, w, w_at, count, y, y_at, _, _) = args
        # Tiles 0 to 3 are sums, 4 and 5 inputs of either 16 rows, 6 and 7 weights.
        inputs = {}
        for row in range(height):
            for part in range(number):
                further = builder.add(builder.mul(_INDEX(row), x_apart), builder.mul(_INDEX(part), x_distance))
                place = address(context, builder, tiles, x, builder.add(x_at, further))
                inputs[row, part] = _bytes(builder, place)
        factors = _bytes(builder, address(context, builder, weights, w, w_at))
        void = ir.VoidType()

        def load_tile(tile, pointer, offset):
            call(builder, "llvm.x86.tileloadd64", void, [_tile(tile), builder.gep(pointer, [offset]), _INDEX(64)])

        for tile in range(height * width):
            call(builder, "llvm.x86.tilezero", void, [_tile(tile)])

        def body(step, state):
            step_at = builder.gep(factors, [builder.mul(step, _INDEX(2 * TILE * width * number))])
            held = None, None
            for one, other in products:
                if held[0] != one:
                    for row in range(height):
                        load_tile(4 + row, inputs[row, one], builder.mul(step, _INDEX(2 * TILE)))
                if held[1] != other:
                    for column in range(width):
                        load_tile(6 + column, step_at, _INDEX(2 * TILE * (column * number + other)))
                held = one, other
                for row in range(height):
                    for column in range(width):
                        arguments = [_tile(row * width + column), _tile(4 + row), _tile(6 + column)]
                        call(builder, "llvm.x86.tdpbf16ps", void, arguments)
            return []

        loop(builder, count, [], body)
        for row in range(height):
            for column in range(width):
                place = builder.add(y_at, _INDEX(16 * (row * BLOCK + column)))
                arguments = [_bytes(builder, address(context, builder, sums, y, place)), _INDEX(4 * BLOCK)]
                call(builder, "llvm.x86.tilestored64", void, [_tile(row * width + column), *arguments])
        return context.get_dummy_value()

    return signature, emit
