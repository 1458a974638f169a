"""A module-wide lock that survives a fork."""

from __future__ import annotations

import os
import threading


class Lock:
    """A lock that is renewed in forked processes, where the thread that held it does not exist.

    Use it as `with lock.held:`. `held` is a plain `threading.Lock`: a lock whose `__enter__` is written in Python
    stays locked for good if an interrupt arrives as that method returns.
    """

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.held = threading.Lock()
