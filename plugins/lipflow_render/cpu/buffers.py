"""Buffers for pictures and sums, reused by later calls.

The system clears all memory that it hands out, which takes as long as drawing something small in it.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from lipflow_kit.compiled.pages import cleared
from torch import Tensor

KEPT = 1 << 30
"""Bytes of buffers that are kept at most, in use or not. Others are returned to the system after their use."""

SMALL = 1 << 20
"""Bytes below which buffers come from the C library, which keeps memory too."""

LINE = 64
"""Alignment of larger buffers in bytes: a cache line."""

_KINDS = {
    kind: torch.empty(0, dtype=kind).numpy().dtype for kind in (torch.float32, torch.float64, torch.int32, torch.int8)
}
_blocks: deque[tuple[np.ndarray, weakref.ref]] = deque()
"""Blocks of memory, the longest unused first, each with its present user. Lock-free: a thread pops a block before using
it, so no two threads share one, and an interrupt leaves nothing locked."""

_sums = threading.local()


def buffer(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Allocate a tensor with undefined values; its memory is reused when no tensor or view of it is left."""
    kind = _KINDS[dtype]
    size = math.prod(shape) * kind.itemsize
    if size < SMALL:
        return torch.from_numpy(np.empty(shape, kind))
    block = _take(size)
    # By numpy, which asks the system for large pages; torch does not.
    new = np.empty(size + LINE, np.uint8) if block is None else block
    lent = new[-new.ctypes.data % LINE :][:size].view(kind).reshape(shape)
    if block is not None or _make_room(new.nbytes):
        _blocks.append((new, weakref.ref(lent)))
    return torch.from_numpy(lent)


def _popped() -> Iterator[tuple[np.ndarray, weakref.ref]]:
    """Pop each block once; the caller appends those that it keeps."""
    for _ in range(len(_blocks)):
        try:
            entry = _blocks.popleft()
        except IndexError:  # other threads have popped the rest
            return
        yield entry


def _take(size: int) -> np.ndarray | None:
    """Take an unused block of this size, or of up to an eighth more."""
    for block, user in _popped():
        if user() is None and size + LINE <= block.nbytes <= size + LINE + size // 8:
            return block
        _blocks.append((block, user))
    return None


def _make_room(size: int) -> bool:
    """Whether another block may be kept; unused blocks are dropped if that is needed and enough."""
    blocks = list(_popped())
    excess = sum(block.nbytes for block, _ in blocks) + size - KEPT
    possible = excess <= sum(block.nbytes for block, user in blocks if user() is None)
    for block, user in blocks:
        if possible and excess > 0 and user() is None:
            excess -= block.nbytes
        else:
            _blocks.append((block, user))
    return possible


@contextmanager
def zeros(shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Lend an array of zeros, which the caller must leave as zeros again.

    Each thread keeps the largest that it asked for. Most systems provide memory only for pages that are written.
    """
    size = math.prod(shape)
    kept = _sums.__dict__.pop(dtype.str, None)
    if kept is None or kept.size < size:
        kept = np.frombuffer(cleared(max(1, size) * dtype.itemsize), dtype)
    yield kept[:size].reshape(shape)
    # Not reached if the caller failed and may have left other values.
    _sums.__dict__[dtype.str] = kept
