"""How kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False}

FUSED = {"contract"}
"""A product and a sum may be rounded once: for colours, not for where triangles end."""
REORDERED = {"reassoc", "contract", "nsz"}
"""Sums may be reordered too, so that loops over them vectorise; NaN and infinity stay what they are."""


def kernel(function: Callable) -> Callable:
    """Compile on first use, run without the GIL, keep the machine code on disk where a folder can be written.

    `fastmath` is off: results do not depend on how a loop was vectorised, and its flags would set the whole process to
    flush denormals.
    """
    return _kept(function)


def kernel_reordered(function: Callable) -> Callable:
    """The same with `REORDERED` sums."""
    return _kept(function, fastmath=REORDERED)


def part(function: Callable) -> Callable:
    """Compile for the kernels that call it, once for all places that it is called from."""
    return njit(function, **_OPTIONS)


def inline(function: Callable) -> Callable:
    """Compile into the kernels that call it."""
    return njit(function, forceinline=True, **_OPTIONS)


def inline_fused(function: Callable) -> Callable:
    """The same with products and sums `FUSED`."""
    return njit(function, forceinline=True, fastmath=FUSED, **_OPTIONS)


def _kept(function: Callable, **options: Any) -> Callable:
    try:
        compiled = njit(function, cache=True, **_OPTIONS, **options)
    except RuntimeError:  # numba found no folder to keep its cache in
        return njit(function, **_OPTIONS, **options)
    # numba takes a kept kernel for valid as long as the kernel's own file is the same, whatever was compiled into it.
    with suppress(AttributeError, OSError):
        compiled._cache._cache_file._source_stamp = _stamp(Path(function.__code__.co_filename).parent)
    return compiled


@cache
def _stamp(package: Path) -> tuple:
    """What tells one state of a package's sources, and of these, from another."""
    files = sorted({*package.rglob("*.py"), *Path(__file__).parent.glob("*.py")})
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
