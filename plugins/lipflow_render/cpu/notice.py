"""Tells the user what a long silence is: kernels being compiled."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE = 3.0
_lock = threading.RLock()
_done: set[object] = set()


@contextmanager
def compiling(what: tuple) -> Iterator[None]:
    """Around a first call for `what`, whose last part is a word for it: one line on stderr if it has to be compiled.

    Other threads that would compile the same wait here, so that it is compiled once.
    """
    if what in _done:
        yield
        return
    with _lock:
        if what in _done:
            yield
            return
        line = f"lipflow-core: compiling renderer 'cpu' ({what[-1]}) for this machine, once; some 10 seconds"
        timer = threading.Timer(_PATIENCE, print, [line], {"file": sys.stderr, "flush": True})
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        _done.add(what)


def _renew_lock() -> None:
    """In a forked child: a thread of the parent may have held the lock."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
