"""Shows the progress of long work: a line that is redrawn on a terminal, a plain line every few seconds elsewhere.

Imports no torch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, TextIO

from lipflow_core.tables import printable, terminal_width

Style = Literal["auto", "bar", "lines", "none"]
"""Style of progress: "auto" means "bar" on a terminal and "lines" elsewhere, but "none" within `hushed("none")`."""

REDRAWN_EVERY = 0.25
"""Seconds between two drawings of a bar."""
WIDE = 160
"""Smallest width of a terminal, in columns, at which a bar is drawn beside the figures."""

_hushed: ContextVar[bool] = ContextVar("hushed", default=False)


@contextmanager
def hushed(style: Style) -> Iterator[None]:
    """Hide all progress of style "auto" in this context if `style` is "none"; otherwise change nothing.

    Example:
        >>> with hushed("none"), progress(3, "simulate") as bar:
        ...     bar.advance(3)
    """
    token = _hushed.set(_hushed.get() or style == "none")
    try:
        yield
    finally:
        _hushed.reset(token)


@dataclass(eq=False)
class Progress(AbstractContextManager):
    """Shows the progress of a loop. It is used as a context manager.

    Args:
        total: Number of units to do; None if it is unknown.
        label: Name of the work, such as "train all".
        unit: Name of a unit in the singular, such as "step".
        style: Style of progress.
        initial: Number of units that were done before.
        stream: Stream to print to; standard error if None.
        every: Seconds between two plain lines.
        patience: Seconds before anything is shown. With patience, a bar is erased at the end.
        held: Whether to show nothing before `resume_at` or the first `advance`, for work that may still be refused.
        clock: Function that returns the time in seconds.

    Attributes:
        done: Number of units done so far.

    Example:
        >>> with progress(3, "simulate", "frame", style="none") as bar:
        ...     for _ in range(3):
        ...         bar.advance(1, loss=0.5)
        >>> bar.done
        3
    """

    total: int | None
    label: str
    unit: str = ""
    _: KW_ONLY
    style: Style = "auto"
    initial: int = 0
    stream: TextIO | None = None
    every: float = 10.0
    patience: float = 0.0
    held: bool = False
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.stream = sys.stderr if self.stream is None else self.stream
        if self.style == "auto":
            self.style = "none" if _hushed.get() else "bar" if self.stream.isatty() else "lines"
        self._bar = self.style == "bar"
        self.done = self.initial
        self._fields: dict[str, Any] = {}
        self._start: float | None = None
        self._warm: tuple[float, int] | None = None
        self._shown: int | None = None
        self._drawn = 0

    def __enter__(self) -> Progress:
        self._hush = hushed(self.style)
        self._hush.__enter__()
        if not self.held:
            self._begin()
        return self

    @property
    def due(self) -> bool:
        """Whether the next `advance` will be shown; check it before computing costly fields."""
        return self.style != "none" and self._start is not None and self.clock() >= self._next

    def advance(self, n: int = 1, **fields: Any) -> None:
        """Count `n` more units, and show `fields` beside the count; a field keeps its value until it is set again."""
        if self._start is None:
            self._begin()
        self.done += n
        self._fields.update(fields)
        if self.due:
            self._show()
        if n and self._warm is None:
            self._warm = self.clock(), self.done

    def resume_at(self, done: int) -> None:
        """Begin with `done` units already done, which do not count for the rate."""
        self.done = self.initial = done
        self._begin()

    def forget(self) -> None:
        """Clear all fields."""
        self._fields.clear()

    def note(self, text: str) -> None:
        """Print a separate line, above the bar if there is one."""
        if self.style == "none":
            return
        drawn = self._drawn > 0
        self._draw("")
        print(printable(text), file=self.stream, flush=True)
        if drawn:
            self._show()

    def __exit__(self, *exception: object) -> None:
        self._hush.__exit__(None, None, None)
        if self.style == "none" or self._start is None:
            return
        refused = exception[0] is not None and self.done == self.initial
        if self._bar and (refused or self.patience):
            self._draw("")
        elif self._bar:
            self._show()
            print(file=self.stream, flush=True)
        elif not refused and self.done != self._shown and self.clock() - self._start >= self.patience:
            self._show()

    def _begin(self) -> None:
        self._start = self.clock()
        # The first unit takes longer than the rest: pictures are simulated and kernels compiled in it.
        self._warm = None
        # The first line comes soon: it tells early that the work runs, and how fast.
        self._next = self._start + max(0.0 if self._bar else min(self.every, 2.0), self.patience)
        if self._bar and self.due:
            self._show()

    def _show(self) -> None:
        now = self.clock()
        self._next, self._shown = now + (REDRAWN_EVERY if self._bar else self.every), self.done
        if self._bar:
            width = terminal_width(self.stream or sys.stderr)
            self._draw(self._text(now, wide=width >= WIDE)[: width - 1])
        else:
            print(self._text(now), file=self.stream, flush=True)

    def _draw(self, line: str) -> None:
        """Replace the drawn line by another."""
        if line or self._drawn:
            print("\r" + line.ljust(self._drawn), end="" if line else "\r", file=self.stream, flush=True)
            self._drawn = len(line)

    def _text(self, now: float, *, wide: bool = False) -> str:
        ended = self.total is None or self.done >= self.total
        began = now if self._start is None else self._start
        start, before = self._warm or (began, self.initial if ended else self.done)
        seconds = (now - start) / (self.done - before) if self.done > before else 0.0
        of = "" if self.total is None else f"/{self.total}"
        unit = self.unit or "it"
        noun = f" {self.unit}{'' if (self.total or self.done) == 1 else 's'}" if self.unit else ""
        pieces = [f"{self.done}{of}{noun}"]
        if wide and self.total:
            pieces.insert(0, f"[{'#' * min(30, 30 * self.done // self.total):30}]")
        if seconds > 0:
            pieces.append(f"{1 / seconds:.3g} {unit}s/s" if seconds <= 1 else f"{seconds:.3g} s/{unit}")
        left = 0 if self.total is None or seconds == 0 else max(0, self.total - self.done)
        pieces.append(_clock(now - began) + (f" gone, {_clock(seconds * left)} to go" if left else ""))
        for name, value in self._fields.items():
            pieces.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
        return printable(f"{self.label}: {'  '.join(pieces)}", lines=False)


progress = Progress
"""The name under which `Progress` is used as a context manager: `with progress(total, label, unit) as bar:`."""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
