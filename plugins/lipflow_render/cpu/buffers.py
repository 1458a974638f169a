"""Memory of pictures and of sums, kept for the next call: the system clears all that is new, which takes as long as to
draw small things in it."""

from __future__ import annotations

import math
import mmap
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import Tensor

KEPT = 1 << 30
"""Bytes that `memory` keeps at most, lent or not. What has no place among them is the system's again after its use."""

SMALL = 1 << 20
"""Memory of fewer bytes is left to the C library, which keeps it too."""

LINE = 64
"""Bytes at whose multiples memory begins that is not small."""

_KINDS = {
    kind: torch.empty(0, dtype=kind).numpy().dtype for kind in (torch.float32, torch.float64, torch.int32, torch.int8)
}
_blocks: deque[tuple[np.ndarray, weakref.ref]] = deque()
"""What is kept, the longest unused first, and who has it on loan. One thread at a time has a block in hand, since it
takes it out, so that no lock is needed, and none can be left closed by an interrupt."""

_sums = threading.local()


def memory(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor with anything in it. When the last one that shares its memory is gone, another may get that."""
    kind = _KINDS[dtype]
    size = math.prod(shape) * kind.itemsize
    if size < SMALL:
        return torch.from_numpy(np.empty(shape, kind))
    block = _take(size)
    # From numpy: it asks the system for large pages, torch does not.
    new = np.empty(size + LINE, np.uint8) if block is None else block
    lent = new[-new.ctypes.data % LINE :][:size].view(kind).reshape(shape)
    if block is not None or _make_room(new.nbytes):
        _blocks.append((new, weakref.ref(lent)))
    return torch.from_numpy(lent)


def _taken_out() -> Iterator[tuple[np.ndarray, weakref.ref]]:
    """Each block once. Whoever goes on keeping it puts it back."""
    for _ in range(len(_blocks)):
        try:
            entry = _blocks.popleft()
        except IndexError:  # other threads have the rest in hand
            return
        yield entry


def _take(size: int) -> np.ndarray | None:
    """A block that nobody has, of this size or an eighth more."""
    for block, lent in _taken_out():
        if lent() is None and size + LINE <= block.nbytes <= size + LINE + size // 8:
            return block
        _blocks.append((block, lent))
    return None


def _make_room(size: int) -> bool:
    """Whether so many bytes more may be kept; if need be, what nobody has is given up for them."""
    blocks = list(_taken_out())
    excess = sum(block.nbytes for block, _ in blocks) + size - KEPT
    possible = excess <= sum(block.nbytes for block, lent in blocks if lent() is None)
    for block, lent in blocks:
        if possible and excess > 0 and lent() is None:
            excess -= block.nbytes
        else:
            _blocks.append((block, lent))
    return possible


@contextmanager
def zeros(shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Zeros that the caller leaves as zeros again; each thread keeps the most it was asked for. Most systems give
    memory for them only where they are written to."""
    size = math.prod(shape)
    kept = _sums.__dict__.pop(dtype.str, None)
    if kept is None or kept.size < size:
        kept = np.frombuffer(_cleared(max(1, size) * dtype.itemsize), dtype)
    yield kept[:size].reshape(shape)
    # Not reached if the caller failed: then nobody knows what is in it.
    _sums.__dict__[dtype.str] = kept


def _cleared(size: int) -> mmap.mmap:
    """So many bytes of zeros, in large pages if the system has them."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    # Private: what a forked child writes is its own.
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a system without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
