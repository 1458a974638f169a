"""Memory in large pages: with small ones, address translation costs up to half of the memory bandwidth."""

from __future__ import annotations

import mmap
from contextlib import suppress


def cleared(size: int) -> mmap.mmap:
    """Allocate zeroed memory outside the heap, in large pages where the system offers them.

    The system provides pages when they are first written, so memory that is never touched costs nothing. A forked
    process gets a private copy.

    Args:
        size: Bytes, at least 1.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without large pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
