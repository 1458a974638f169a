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

from llvmlite import ir
from numba.core import cgutils, config, types
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from lipflow_glow.passes.layout import BLOCK, PARTS, TILE
from lipflow_glow.passes.microkernels import address, call, fetch, loop, splat, store_vector, vector_at

FETCHED = 768
"""Bytes of weights to come that are fetched at once."""

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
def multiply(typing, tiles, at, distance, weights, block, steps, sums, to, fresh, following, turns, parts):
    """sums += inputs W for 16 rows and a block of columns, over some of the inputs.

    Args:
        tiles: uint16, flat; the rows' tiles of 32 columns each follow each other from `at` on, parts `distance` apart.
        weights: int16, flat; tiles (steps, 4 tiles of columns, parts, 16 pairs of inputs, 16 columns, 2) from `block` on.
        steps: How many tiles of inputs there are.
        sums: float32, flat; (16, BLOCK) from `to` on, taken for zeros if `fresh`.
        following, turns: Weights fetched meanwhile: from `following` on, `turns` · `FETCHED` bytes at each step.
        parts: Literal, of the weights.
    """
    signature = types.void(
        tiles, types.intp, types.intp, weights, types.intp, types.intp, sums, types.intp, fresh, types.intp,
        types.intp, parts,
    )  # fmt: skip
    number = parts.literal_value

    def emit(context, builder, sig, args):
        if not usable() or sums.dtype != types.float32:
            return context.get_dummy_value()
        (x, x_at, x_distance, w, w_at, count, y, y_at, empty, next_at, more, _) = args
        inputs = [
            _bytes(builder, address(context, builder, tiles, x, builder.add(x_at, builder.mul(_INDEX(p), x_distance))))
            for p in range(number)
        ]
        factors = _bytes(builder, address(context, builder, weights, w, w_at))
        later = _bytes(builder, address(context, builder, weights, w, next_at))
        void, columns, factor = ir.VoidType(), BLOCK // 16, _tile(7)
        places = [
            _bytes(builder, address(context, builder, sums, y, builder.add(y_at, _INDEX(16 * column))))
            for column in range(columns)
        ]
        with builder.if_else(empty) as (new, begun):
            with new:
                for column in range(columns):
                    call(builder, "llvm.x86.tilezero", void, [_tile(column)])
            with begun:
                for column, place in enumerate(places):
                    call(builder, "llvm.x86.tileloadd64", void, [_tile(column), place, _INDEX(4 * BLOCK)])

        def load_tile(into, pointer, offset):
            place = builder.gep(pointer, [offset])
            call(builder, "llvm.x86.tileloadd64", void, [_tile(into), place, _INDEX(64)])

        def fetch_some(turn, state):
            fetch(builder, builder.gep(state[0], [builder.mul(turn, _INDEX(FETCHED))]), FETCHED, nearness=2)
            return state

        def body(step, state):
            loop(builder, more, [builder.gep(later, [builder.mul(builder.mul(step, more), _INDEX(FETCHED))])], fetch_some)
            for part, pointer in enumerate(inputs):
                load_tile(columns + part, pointer, builder.mul(step, _INDEX(2 * TILE)))
            step_at = builder.gep(factors, [builder.mul(step, _INDEX(2 * TILE * columns * number))])
            for column in range(columns):
                for other in range(number):
                    load_tile(7, step_at, _INDEX(2 * TILE * (column * number + other)))
                    for part in range(number - other):
                        call(builder, "llvm.x86.tdpbf16ps", void, [_tile(column), _tile(columns + part), factor])
            return []

        loop(builder, count, [], body)
        for column, place in enumerate(places):
            call(builder, "llvm.x86.tilestored64", void, [_tile(column), place, _INDEX(4 * BLOCK)])
        return context.get_dummy_value()

    return signature, emit
