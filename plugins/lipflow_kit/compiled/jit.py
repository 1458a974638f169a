"""Decorators that compile kernels, and what they are compiled from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core.dispatcher import Dispatcher

from lipflow_kit.compiled.machine_code import keep
from lipflow_kit.compiled.waiting import waiting

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False}

FUSED = {"contract"}
"""LLVM's flag for `inline_fused`: a product and a sum may be rounded once."""
REORDERED = {"reassoc", "contract", "nsz"}
"""LLVM's flags for `kernel_reordered`: sums may be reordered too, so that loops over them vectorise. NaN and infinity
stay as they are."""


def kernel(function: Callable) -> Callable:
    """Compile a function that Python calls, at its first call with arguments of each type.

    It runs without the GIL. Its machine code is kept on disk where a folder can be written, and compiled again when a
    source file that it is made of changes. `fastmath` is off: results do not depend on how a loop was vectorised, and
    its flags would make the whole process flush denormals to zero.
    """
    return _kept(function)


def kernel_reordered(function: Callable) -> Callable:
    """Compile a function that Python calls, with `REORDERED` sums; see `kernel`."""
    return _kept(function, fastmath=REORDERED)


def part(function: Callable) -> Callable:
    """Compile a function that kernels call: once for all places that call it."""
    return njit(function, **_OPTIONS)


def inline(function: Callable) -> Callable:
    """Compile a function into the kernels that call it."""
    return njit(function, forceinline=True, **_OPTIONS)


def inline_fused(function: Callable) -> Callable:
    """Compile a function into the kernels that call it, with `FUSED` products and sums: for colours, not for edges."""
    return njit(function, forceinline=True, fastmath=FUSED, **_OPTIONS)


def _kept(function: Callable, **options: Any) -> Callable:
    options |= _OPTIONS
    try:
        compiled = njit(function, cache=True, **options)
    except RuntimeError:  # numba found no folder for its cache
        compiled = njit(function, **options)
    if isinstance(compiled, Dispatcher):  # with NUMBA_DISABLE_JIT it is the function itself
        waiting.watch(compiled)
        if compiled.stats.cache_path is not None:
            keep(compiled)
    return compiled
