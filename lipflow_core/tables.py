"""Plain text for a terminal: tables, counts, and what a stranger's text may do there."""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False  # as in lipflow_core/__init__.py, so as not to import typing
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import TextIO

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that steer a terminal, end a line, turn the direction of text, or can't be encoded."""


def printable(text: str, *, lines: bool = True) -> str:
    r"""Escape what would steer a terminal: control characters, marks of direction, halves of surrogate pairs.

    Args:
        text: Text that may hold words of a spec, a plugin or a capture.
        lines: Whether line feeds and tabs are kept.

    Example:
        >>> print(printable("a \x1b[31mred\x1b[0m name"))
        a \x1b[31mred\x1b[0m name
    """
    text = _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)
    return text if lines else text.replace("\n", "\\n").replace("\t", "\\t")


def shortened(text: str, *, lines: int = 60, width: int = 2000) -> str:
    """Cut a long message, and say how much was left out.

    Args:
        text: The message.
        lines: Most lines that are kept.
        width: Most characters that are kept of a line.
    """
    every = text.split("\n")
    kept = [
        line if len(line) <= width else f"{line[:width]}… ({len(line) - width} more characters)"
        for line in every[:lines]
    ]
    return "\n".join(kept) + (f"\n… and {counted(len(every) - lines, 'more line')}" if len(every) > lines else "")


def terminal_width(stream: TextIO) -> int:
    """Give the columns of the terminal that a stream writes to; 100 if it is none."""
    try:
        return int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size(stream.fileno()).columns or 100
    except (OSError, ValueError, AttributeError):
        return 100


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int | None = None, rules: Collection[int] = ()
) -> str:
    """Align cells in columns that are as wide as their longest cell and two spaces apart.

    Args:
        header: The first line.
        rows: The other lines.
        left: Number of columns that are aligned left; the others are aligned right, as numbers are. All if None.
        rules: Numbers of the rows that have a rule above them.

    Example:
        >>> print(table(("part", "shape"), [("decoder", "8 → 42×3")]))
        part     shape
        decoder  8 → 42×3
    """
    header, *rows = [[printable(cell, lines=False) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    left = len(header) if left is None else left
    lines = []
    for number, row in enumerate((header, *rows), start=-1):
        if number in rules:
            lines.append("  ".join("─" * width for width in widths))
        cells = zip(row, widths, strict=True)
        aligned = [cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in enumerate(cells)]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def counted(count: int, noun: str) -> str:
    """Write a number with its noun: "1 frame", "2 frames"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
