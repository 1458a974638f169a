"""Memory that kernels sum in, kept from call to call: new memory costs more than the sums."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_kept = threading.local()


@contextmanager
def zeros(rows: int, columns: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Zeros (rows, columns) that the caller leaves as zeros again; each thread keeps the largest it was asked for."""
    kept = _kept.__dict__.pop(dtype.str, None)
    if kept is None or kept.size < rows * columns:
        # numpy asks for large pages for memory that it does not have to clear.
        kept = np.empty(rows * columns, dtype)
        kept[:] = 0
    yield kept[: rows * columns].reshape(rows, columns)
    # Not reached if the caller failed: then nobody knows what is in it.
    _kept.__dict__[dtype.str] = kept
