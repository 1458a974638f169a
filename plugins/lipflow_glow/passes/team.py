"""How several threads share one pass through the flow: phase after phase, each phase's blocks by whoever is free.

A thread takes blocks from a counter, computes them, adds them to another counter, and goes on to the next phase when
that one says that all are done. So no thread ever waits for one that has not begun: one that comes late, or never,
is not missed, and threads of other work can be few or busy without harm. Which thread computes a block does not matter
to the result.
"""

from __future__ import annotations

import os

from lipflow_kit.compiled.jit import inline
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lipflow_glow.passes.microkernels import address

PATIENCE = 2000
"""Rounds that a thread waits for others before it offers its core to them."""
_YIELDS = hasattr(os, "sched_yield")


@intrinsic
def _add(typing, counters, index, amount):
    """Add to a counter and return what it was."""

    def emit(context, builder, sig, args):
        place = address(context, builder, sig.args[0], args[0], args[1])
        return builder.atomic_rmw("add", place, args[2], "seq_cst")

    return types.int64(counters, types.intp, types.int64), emit


@intrinsic
def _read(typing, counters, index):
    """A counter's value; what was written before it was added to is seen."""

    def emit(context, builder, sig, args):
        place = address(context, builder, sig.args[0], args[0], args[1])
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(counters, types.intp), emit


@intrinsic
def _yield(typing):
    """Let the operating system run another thread."""

    def emit(context, builder, sig, args):
        if _YIELDS:
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), emit


@inline
def take(counters, phase, amount):
    """The first of the next `amount` blocks of a phase; beyond its last block if none is left."""
    return _add(counters, 2 * phase, amount)


@inline
def hand_in(counters, phase, amount):
    """Say that so many blocks of a phase are done."""
    _add(counters, 2 * phase + 1, amount)


@inline
def wait(counters, phase, blocks):
    """Until all blocks of a phase are done."""
    rounds = 0
    while _read(counters, 2 * phase + 1) < blocks:
        rounds += 1
        if rounds > PATIENCE:
            _yield()
