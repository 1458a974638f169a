"""Lines on standard error that tell a user what a long wait is for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 2.0
"""Seconds that a wait may last before the user is told about it."""


@contextmanager
def announced(text: str, patience: float = PATIENCE) -> Iterator[None]:
    """Print a line if the block takes longer than `patience` seconds.

    Args:
        text: Line that tells what takes long, without the program's name.
        patience: Seconds to wait before printing.
    """
    timer = threading.Timer(patience, print, [f"lipflow-core: {text}"], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
