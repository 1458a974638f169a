"""Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere, nothing when asked to be quiet.

Imports no torch, and tqdm only where a bar is drawn.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TextIO

Style = Literal["auto", "bar", "lines", "none"]
"""How progress is shown: "auto" is a bar on a terminal and lines elsewhere, and nothing within a progress of "none"."""

WIDE = 160
"""Columns of a terminal from which on a bar has room beside its figures."""

_hushed: ContextVar[bool] = ContextVar("hushed", default=False)


def progress(
    total: int | None,
    label: str,
    unit: str = "",
    *,
    style: Style = "auto",
    initial: int = 0,
    stream: TextIO | None = None,
    every: float = 10.0,
    patience: float = 0.0,
    held: bool = False,
) -> Progress:
    """Show the progress of a loop.

    Args:
        total: Number of units to do; None if not known.
        label: What is being done, such as "train all".
        unit: What is counted, such as "step"; the singular.
        style: How it is shown.
        initial: Units that were done before.
        stream: Where to; standard error if None.
        every: Seconds between plain lines.
        patience: Nothing is shown of work that ends within so many seconds.
        held: Show nothing before `resume_at` or the first `advance`: the work may yet be refused.

    Returns:
        A context manager; the same whatever the style.

    Example:
        >>> with progress(3, "simulate", "frame", style="none") as bar:
        ...     for _ in range(3):
        ...         bar.advance(1, loss=0.5)
        >>> bar.done
        3
    """
    stream = sys.stderr if stream is None else stream
    if style == "auto" and _hushed.get():
        style = "none"
    elif style == "auto":
        style = "bar" if stream.isatty() else "lines"
    shown = {"bar": _Bar, "lines": _Lines, "none": _Hidden}[style]
    return shown(total, label, unit, initial, stream, every, patience, held)


@contextmanager
def hushed(style: Style) -> Iterator[None]:
    """Within it, if the style is "none", nothing is shown by those who know of no style either.

    Example:
        >>> with hushed("none"), progress(3, "simulate") as bar:
        ...     bar.advance(3)
    """
    token = _hushed.set(_hushed.get() or style == "none")
    try:
        yield
    finally:
        _hushed.reset(token)


class Progress(AbstractContextManager):
    """Progress that is counted and not shown: the base of those that are.

    Attributes:
        total: Number of units to do, or None.
        done: Units done so far.
    """

    def __init__(
        self,
        total: int | None,
        label: str,
        unit: str,
        initial: int,
        stream: TextIO,
        every: float,
        patience: float = 0.0,
        held: bool = False,
    ):
        self.total = total
        self.label = label
        self.unit = unit
        self.done = initial
        self._initial = initial
        self._stream = stream
        self._every = every
        self._patience = patience
        self._held = held
        self._fields: dict[str, Any] = {}

    @property
    def due(self) -> bool:
        """Whether the next `advance` will be seen: ask before computing costly fields."""
        return False

    def advance(self, n: int = 1, **fields: Any) -> None:
        """Count `n` more units, and show `fields` (kept until given anew) beside the count."""
        self.done += n
        self._fields.update(fields)

    def resume_at(self, done: int) -> None:
        """Count `done` units as done before, so that they do not enter the rate; for work that is taken up again."""
        self.done = self._initial = done

    def forget(self) -> None:
        """Show no fields until they are given anew."""
        self._fields.clear()

    def note(self, text: str) -> None:
        """Print a line of its own, above a bar."""

    def __exit__(self, *exception: object) -> None:
        return None

    @property
    def _postfix(self) -> str:
        return "  ".join(f"{name} {_short(value)}" for name, value in self._fields.items())


class _Hidden(Progress):
    """Nothing, nor of what is done within it by others who know of no style."""

    def __enter__(self) -> Progress:
        self._token = _hushed.set(True)
        return self

    def __exit__(self, *exception: object) -> None:
        _hushed.reset(self._token)


class _Lines(Progress):
    """Plain lines, one every few seconds and one at the end."""

    def __enter__(self) -> Progress:
        self._start: float | None = None
        if not self._held:
            self._begin()
        return self

    def _begin(self) -> None:
        self._start = time.monotonic()
        # What comes first takes longer than the rest, as it is where pictures are made and kernels compiled.
        self._warm: tuple[float, int] | None = None
        # The first line comes soon, so that one sees early that it runs, and how fast.
        self._next = self._start + max(min(self._every, 2.0), self._patience)
        self._printed = -1

    @property
    def due(self) -> bool:
        return self._start is not None and time.monotonic() >= self._next

    def advance(self, n: int = 1, **fields: Any) -> None:
        if self._start is None:
            self._begin()
        super().advance(n, **fields)
        if self.due:
            self._line()
            self._next = time.monotonic() + self._every
        if n and self._warm is None:
            self._warm = time.monotonic(), self.done

    def resume_at(self, done: int) -> None:
        super().resume_at(done)
        self._begin()

    def note(self, text: str) -> None:
        _print(self._stream, text)

    def __exit__(self, *exception: object) -> None:
        if self._start is None or (self.done == self._initial and exception[0] is not None):
            return
        if self.done != self._printed and time.monotonic() - self._start >= self._patience:
            self._line()

    def _line(self) -> None:
        self._printed = self.done
        now = time.monotonic()
        elapsed = now - self._start
        ended = self.total is None or self.done >= self.total
        start, before = self._warm or (self._start, self._initial if ended else self.done)
        seconds = (now - start) / (self.done - before) if self.done > before else 0.0
        count = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        pieces = [f"{self.label}: {count}{_plural(self.unit, self.total or self.done)}"]
        if seconds > 0:
            pieces.append(_rate(1 / seconds, self.unit))
        if self.total is not None and seconds > 0 and self.done < self.total:
            pieces.append(f"{_clock(elapsed)} gone, {_clock(seconds * (self.total - self.done))} to go")
        else:
            pieces.append(_clock(elapsed))
        if self._fields:
            pieces.append(self._postfix)
        _print(self._stream, "  ".join(pieces))


class _Bar(Progress):
    """A tqdm bar; on a narrow terminal its figures alone."""

    def __enter__(self) -> Progress:
        self._bar: Any = None
        self._next = 0.0
        if not self._held:
            self._begin()
        return self

    def _begin(self) -> None:
        from tqdm import tqdm

        class Bar(tqdm):
            # No monitor thread and no semaphore shared between processes: one bar needs neither.
            monitor_interval = 0
            _lock = threading.RLock()
            warm = 0.0

            def __str__(self) -> str:
                figures = self.format_dict
                columns = figures["ncols"]
                counted = figures["n"] - figures["initial"]
                if figures["rate"] is None and counted > 0:
                    figures["rate"] = counted / max(figures["elapsed"] - self.warm, 1e-9)
                if columns and columns < WIDE and self.total:
                    figures["bar_format"] = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
                text = self.format_meter(**figures)
                return text[:columns] if columns else text

        self._bar = Bar(
            total=self.total,
            desc=self.label,
            unit=self.unit or "it",
            initial=self.done,
            file=self._stream,
            dynamic_ncols=True,
            mininterval=0.2,
            delay=self._patience,
            leave=not self._patience,
        )

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._next

    def advance(self, n: int = 1, **fields: Any) -> None:
        if self._bar is None:
            self._begin()
        first = self.done == self._initial
        super().advance(n, **fields)
        if self.due:
            self._next = time.monotonic() + 0.25
            self._bar.set_postfix_str(self._postfix, refresh=False)
        if first:
            # What comes first takes longer than the rest, so that it may not enter the rate.
            self._set(self.done)
        else:
            self._bar.update(n)

    def resume_at(self, done: int) -> None:
        super().resume_at(done)
        if self._bar is None:
            self._begin()
        self._set(done)

    def _set(self, done: int) -> None:
        bar = self._bar
        bar.initial = bar.n = bar.last_print_n = done
        bar.last_print_t = time.time()
        bar.warm = bar.last_print_t - bar.start_t
        if bar.last_print_t >= bar.start_t + self._patience:
            bar.refresh()

    def note(self, text: str) -> None:
        if self._bar is None:
            _print(self._stream, text)
        else:
            self._bar.write(text, file=self._stream)

    def __exit__(self, *exception: object) -> None:
        if self._bar is None:
            return
        if self.done == self._initial and exception[0] is not None:
            self._bar.leave = False
        self._bar.set_postfix_str(self._postfix, refresh=False)
        self._bar.close()


def _print(stream: TextIO, text: str) -> None:
    stream.write(text + "\n")
    stream.flush()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plural(unit: str, count: int) -> str:
    return "" if not unit else f" {unit}" if count == 1 else f" {unit}s"


def _rate(per_second: float, unit: str) -> str:
    unit = unit or "it"
    return f"{per_second:.3g} {unit}s/s" if per_second >= 1 else f"{1 / per_second:.3g} s/{unit}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
