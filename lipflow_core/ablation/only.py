"""Which part of a grid is meant by AXIS=VALUE pairs. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from lipflow_core.ablation.cells import Scored, as_text
from lipflow_core.ablation.grid import Grid
from lipflow_core.errors import SpecError
from lipflow_core.spelling import choices


def check_only(grid: Grid, scored: Sequence[Scored], only: Sequence[str]) -> list[tuple[str, str]]:
    """Take AXIS=VALUE pairs apart, and check that there are such.

    Raises:
        lipflow_core.errors.SpecError: If there is no such axis or value.
    """
    found = []
    known: dict[str, list[str]] = {"system": list(grid.systems), "task": [task.name for task in grid.tasks]}
    known |= {axis: [as_text(value) for value in values] for axis, values in grid.axes.items()}
    known.setdefault("seed", list(dict.fromkeys(str(one.seed) for one in scored)))
    known.setdefault("subject", list(dict.fromkeys(one.subject for one in scored)))
    for text in only:
        axis, equals, value = text.partition("=")
        if not equals or axis not in known:
            raise SpecError(f"--only {text}: there is no axis '{axis}'", choices(axis, known))
        if value not in known[axis]:
            raise SpecError(f"--only {text}: '{axis}' has no value '{value}'", choices(value, known[axis]))
        found.append((axis, value))
    return found
