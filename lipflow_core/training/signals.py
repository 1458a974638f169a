"""Ends a run by signals: INT and TERM let it finish its step and save; a second INT ends it at once."""

from __future__ import annotations

import signal
import threading
from contextlib import AbstractContextManager
from types import FrameType


class StopOnSignal(AbstractContextManager):
    """Context in which INT and TERM do not end the process; calling it tells whether one was received.

    Outside the main thread, where Python allows no handlers, signals are not noticed.

    Attributes:
        received: Name of the received signal, such as "SIGINT"; None before.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, object] = {}

    def __call__(self) -> bool:
        return self.received is not None

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
