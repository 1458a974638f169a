"""Memory of pictures and of sums, kept for the next call: the system clears all that is new, which takes as long as to
draw small things in it."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from lipflow_render.locks import Lock

KEPT = 1 << 30
"""Bytes that are kept at most while nobody uses them."""

SMALL = 1 << 20
"""Memory of fewer bytes is left to the C library, which keeps it too."""

LINE = 64
"""Bytes at whose multiples memory begins that is not small."""

_KINDS = {
    kind: torch.empty(0, dtype=kind).numpy().dtype for kind in (torch.float32, torch.float64, torch.int32, torch.int8)
}
_free: list[np.ndarray] = []
_lock = Lock()
_sums = threading.local()


def memory(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor with anything in it. When the last one that shares its memory is gone, that is kept for another."""
    kind = _KINDS[dtype]
    size = math.prod(shape) * kind.itemsize
    if size < SMALL:
        return torch.from_numpy(np.empty(shape, kind))
    block = _take(size)
    lent = block[-block.ctypes.data % LINE :][:size].view(kind).reshape(shape)
    weakref.finalize(lent, _give_back, block).atexit = False
    return torch.from_numpy(lent)


def _take(size: int) -> np.ndarray:
    with _lock:
        for n in reversed(range(len(_free))):
            if _free[n].nbytes == size + LINE:
                return _free.pop(n)
    # From numpy: it asks the system for large pages, torch does not.
    return np.empty(size + LINE, np.uint8)


def _give_back(block: np.ndarray) -> None:
    # Python may call this anywhere, even while this very thread holds the lock: then the block is not kept.
    if not _lock.acquire(blocking=False):
        return
    try:
        _free.append(block)
        while sum(block.nbytes for block in _free) > KEPT:
            _free.pop(0)
    finally:
        _lock.release()


@contextmanager
def zeros(rows: int, columns: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Zeros (rows, columns) that the caller leaves as zeros again; each thread keeps the largest it was asked for."""
    kept = _sums.__dict__.pop(dtype.str, None)
    if kept is None or kept.size < rows * columns:
        # numpy asks for large pages for memory that it does not have to clear.
        kept = np.empty(rows * columns, dtype)
        kept[:] = 0
    yield kept[: rows * columns].reshape(rows, columns)
    # Not reached if the caller failed: then nobody knows what is in it.
    _sums.__dict__[dtype.str] = kept
