"""Tells the user which kernels are being compiled when that takes long."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from numba.core.dispatcher import Dispatcher
from numba.core.event import Event, Listener, register

from lipflow_kit.notices import PATIENCE, announced

APART = 10.0
"""Compilations of one package that are fewer seconds apart are one wait, told by one line."""


class Waiting(Listener):
    """Follows compilations, which nest: kernels compile their parts. numba compiles one kernel at a time.

    Args:
        patience: Seconds of compilation after which a line is printed.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._folders: dict[str, str | None] = {}
        self._spent: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._depth = 0
        self._line: AbstractContextManager | None = None

    def watch(self, dispatcher: Dispatcher) -> None:
        """Print a line when kernels of this one's package take long to compile."""
        self._folders[_package(dispatcher)] = dispatcher.stats.cache_path

    def on_start(self, event: Event) -> None:
        self._depth += 1
        package = _package(event.data["dispatcher"])
        if self._depth > 1 or package not in self._folders:
            return
        self._began = time.monotonic()
        if self._began - self._ended.get(package, -APART) > APART:
            self._spent[package] = 0.0
        if self._spent[package] <= self._patience:
            text = f"compiling kernels of {package} for this machine; this may take a minute"
            if self._folders[package]:
                text += f" and happens once, since they are kept in {self._folders[package]}"
            self._line = announced(text, self._patience - self._spent[package])
            self._line.__enter__()

    def on_end(self, event: Event) -> None:
        self._depth -= 1
        package = _package(event.data["dispatcher"])
        if self._depth > 0 or package not in self._folders:
            return
        self._ended[package] = time.monotonic()
        self._spent[package] += self._ended[package] - self._began
        if self._line is not None:
            self._line.__exit__(None, None, None)
            self._line = None


def _package(dispatcher: Dispatcher) -> str:
    return dispatcher.py_func.__module__.partition(".")[0]


waiting = Waiting()
register("numba:compile", waiting)
