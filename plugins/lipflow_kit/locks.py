"""Locks that a forked process gets anew: the thread that held one in the parent does not exist there."""

from __future__ import annotations

import os
import threading


class Lock:
    """A lock for module-wide use: `with lock.held:`.

    `held` is a lock of Python's own: one whose `__enter__` is written in Python stays closed for good if an interrupt
    comes when that returns.
    """

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.held = threading.Lock()
