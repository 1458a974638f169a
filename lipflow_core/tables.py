"""Tables and counts in plain text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int | None = None, rules: Collection[int] = ()
) -> str:
    """Columns as wide as their longest cell, two spaces apart.

    Args:
        header: The first line.
        rows: The others.
        left: How many columns are aligned left, the others right, as numbers are; all if None.
        rules: Numbers of the rows that a rule stands above.

    Example:
        >>> print(table(("kind", "name"), [("prior", "kl")]))
        kind   name
        prior  kl
    """
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
    """A number and what it counts: "1 frame", "2 frames"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
