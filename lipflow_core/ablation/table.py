"""The table of a grid: a row for each cell, frame and metric."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lipflow_core.ablation.cells import Plan, as_text
from lipflow_core.ablation.folder import TABLE, GridFolder
from lipflow_core.storage import write_atomically
from lipflow_core.tables import table

if TYPE_CHECKING:
    from lipflow_core.evaluation.result import Column

LEVELS = ("system", "task", "subject", "seed")
FRAME = ("sequence", "frame", "metric", "value")


def rows(plan: Plan, grid: GridFolder) -> Iterator[dict[str, Any]]:
    """Yield a row for each combination that is done, each frame and each metric.

    Columns are system, task, subject, seed, then the axes by their paths, then sequence, frame, metric and value. The
    value of a frame that could not be scored is NaN.

    Raises:
        lipflow_core.errors.ResultError: If a cell's scores are damaged.
    """
    from lipflow_core.evaluation.folder import RESULT
    from lipflow_core.evaluation.result import ModelScores

    @lru_cache(maxsize=16)
    def scores_of(cell: str) -> ModelScores:
        path = grid.cell(cell).path / "scores" / RESULT
        return ModelScores.read(path, "Remove the cell's result.json; the cell is then run again.")

    for one in plan.scored:
        if not grid.cell(one.cell).done:
            continue
        scores = scores_of(one.cell)
        levels = {"system": one.system, "task": one.task, "subject": one.subject, "seed": one.seed}
        levels |= {axis: _plain(value) for axis, value in one.axes.items() if axis not in levels}
        for metric, values in scores.scores[one.code].items():
            for (segment, number), value in zip(scores.frames, values, strict=True):
                yield {**levels, "sequence": segment, "frame": number, "metric": metric, "value": value}


def columns(plan: Plan, grid: GridFolder) -> dict[str, Column]:
    """Map each metric that was scored → its column: heading, unit, decimal places and better side."""
    from lipflow_core.evaluation.folder import RESULT
    from lipflow_core.evaluation.result import ModelScores

    found: dict[str, Column] = {}
    for one in {(one.system, one.task): one for one in plan.scored if grid.cell(one.cell).done}.values():
        scores = ModelScores.read(grid.cell(one.cell).path / "scores" / RESULT, "Remove the cell's result.json.")
        found |= scores.metrics
    return found


def write_table(plan: Plan, grid: GridFolder) -> int:
    """Write the table as CSV, which pandas reads; give the number of rows."""
    text = io.StringIO()
    axes = dict.fromkeys(axis for one in plan.scored for axis in one.axes if axis not in LEVELS)
    writer = csv.DictWriter(text, [*LEVELS, *axes, *FRAME], restval="", lineterminator="\n")
    writer.writeheader()
    count = 0
    for row in rows(plan, grid):
        writer.writerow({**row, "value": row["value"] if math.isfinite(row["value"]) else ""})
        count += 1
    write_atomically(grid.path / TABLE, text.getvalue(), within=grid.path)
    return count


def means_text(plan: Plan, grid: GridFolder) -> str:
    """Print the mean of each metric by system and task, over all subjects, seeds and frames that are done."""
    found: dict[tuple[str, str], list[Mapping[str, float | None]]] = {}
    wanted: dict[tuple[str, str], int] = {}
    for one in plan.scored:
        place = (one.task, one.system)
        wanted[place] = wanted.get(place, 0) + 1
        if grid.cell(one.cell).done:
            found.setdefault(place, []).append(grid.cell(one.cell).result().value["means"][one.code])
    metrics = columns(plan, grid)
    lines = []
    order = {task: number for number, task in enumerate(dict.fromkeys(task for task, _ in wanted))}
    for place in sorted(wanted, key=lambda place: order[place[0]]):
        means = found.get(place, [])
        cells = [column.text(_mean([one.get(name) for one in means])) for name, column in metrics.items()]
        lines.append([*place, f"{len(means)}/{wanted[place]}", *cells])
    heads = map(heading, metrics.values())
    return table(("task", "system", "done", *heads), lines, left=2)


def heading(column: Column) -> str:
    """Write a metric's heading, its arrow to the better side and its unit, such as "PSNR ↑ dB"."""
    return column.title if column.unit in ("", column.heading) else f"{column.title} {column.unit}"


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else as_text(value)
