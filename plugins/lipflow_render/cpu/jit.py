"""How kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable

from numba import njit


def kernel(function: Callable) -> Callable:
    """Compile on first use, run without the GIL, keep the machine code on disk where a folder can be written.

    `fastmath` stays off: results must not depend on how a loop was vectorised, and its flags would set the whole
    process to flush denormals.
    """
    options = {"nogil": True, "error_model": "numpy", "boundscheck": False}
    try:
        return njit(function, cache=True, **options)
    except RuntimeError:  # numba found no folder to keep its cache in
        return njit(function, **options)


def inline(function: Callable) -> Callable:
    """Compile into the kernels that call it."""
    return njit(function, nogil=True, error_model="numpy", boundscheck=False, forceinline=True)


def inline_fused(function: Callable) -> Callable:
    """The same where a product and a sum may be rounded once: for colours, not for where triangles end."""
    return njit(function, nogil=True, error_model="numpy", boundscheck=False, forceinline=True, fastmath={"contract"})
