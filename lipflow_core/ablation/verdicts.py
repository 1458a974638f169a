"""Draws the conclusions of a grid: differences to its baseline, verdicts on its claims, and their cautions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from lipflow_core.ablation.cells import Plan
from lipflow_core.ablation.folder import GridFolder
from lipflow_core.ablation.grid import Grid
from lipflow_core.ablation.statistics import Comparison, Finding, Scores, compare, judge
from lipflow_core.ablation.table import columns, heading, rows
from lipflow_core.evaluation.result import Column
from lipflow_core.results import Result
from lipflow_core.tables import table


class Verdicts(Result):
    """Holds what a grid concludes from the scores that are done. It is the content of `findings.json`."""

    baseline: str | None
    """System that the others are compared with; null if the grid has none."""
    metrics: dict[str, Column]
    """Metric → its column."""
    differences: tuple[Comparison, ...]
    """Difference of each system to the baseline, for each task and metric."""
    findings: tuple[Finding, ...]
    """Verdict on each claim."""

    @classmethod
    def of(cls, grid: Grid, plan: Plan, folder: GridFolder) -> Verdicts:
        """Compare the systems of a grid and judge its claims by the scores that are done.

        Args:
            grid: The grid.
            plan: Its whole plan.
            folder: Its folder.

        Raises:
            lipflow_core.errors.SpecError: If the metric of a claim has no better side.
        """
        scores, metrics = Scores.of_rows(rows(plan, folder)), columns(plan, folder)
        return cls(
            baseline=grid.baseline,
            metrics=metrics,
            differences=tuple(_differences(scores, plan, grid.baseline, list(metrics))) if grid.baseline else (),
            findings=judge(
                scores,
                [claim for claim in grid.claims if claim.metric in metrics],
                {name: column.higher_is_better for name, column in metrics.items()},
                systems=list(dict.fromkeys(one.system for one in plan.scored)),
                tasks=[task.name for task in grid.tasks],
            ),
        )

    def text(self) -> str:
        """Print the differences to the baseline, the verdicts, and then each caution and advice once."""
        parts = [self._differences_text()] if self.differences else []
        several = len(self.findings) > 1
        parts += [
            (f"claim {number}: " if several else "") + finding.sentence
            for number, finding in enumerate(self.findings, start=1)
        ]
        names = [f"claim {number}" if several else "claim" for number in range(1, len(self.findings) + 1)]
        told = list(zip(names, [one.comparison for one in self.findings], strict=True))
        compared = [(f"{one.system} on {one.task}", one) for one in self.differences]
        parts += _once("caution", [(name, one.cautions) for name, one in (*told, *compared)])
        parts += _once("advice", [(name, (one.components.advice,)) for name, one in told])
        return "\n".join(parts)

    def _differences_text(self) -> str:
        found = {(one.task, one.system, one.metric): one for one in self.differences}
        metrics = [name for name in self.metrics if any(name == metric for _, _, metric in found)]
        lines = [
            [task, system, *(_difference(found.get((task, system, name)), self.metrics[name]) for name in metrics)]
            for task, system in dict.fromkeys((task, system) for task, system, _ in found)
        ]
        heads = ["task", f"system − {self.baseline}", *(heading(self.metrics[name]) for name in metrics)]
        below = "  mean difference ± half the 95 % interval, paired by frame; ± –: too few scores for an interval"
        return "\n" + table(heads, lines, left=2) + f"\n{below}\n"


def _differences(scores: Scores, plan: Plan, baseline: str, metrics: Sequence[str]) -> Iterator[Comparison]:
    for task, system in dict.fromkeys((one.task, one.system) for one in plan.scored):
        name, bracket, point = system.partition("[")
        if name == baseline:
            continue
        for metric in metrics:
            # At a point of further axes, the baseline is that of the same point.
            found = compare(scores, system, baseline + bracket + point, task, metric)
            if found.runs or found.unpaired:
                yield found


def _difference(found: Comparison | None, column: Column) -> str:
    if found is None or not math.isfinite(found.overall.mean):
        return "–"
    estimate = found.overall
    return estimate.text(column.digits) if math.isfinite(estimate.error) else f"{estimate.mean:+.{column.digits}f} ± –"


def _once(what: str, told: Sequence[tuple[str, Iterable[str]]]) -> list[str]:
    """Write each sentence once, with the names of what it is said of unless it is said of all."""
    found: dict[str, dict[str, None]] = {}
    for name, sentences in told:
        for sentence in sentences:
            found.setdefault(sentence, {})[name] = None
    every = len({name for name, _ in told})
    lines = []
    for sentence, of in found.items():
        names = list(of)
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        said_of = f" ({', '.join(names[:4])}{more})" if len(names) < every else ""
        lines.append(f"{what}{said_of}: {sentence}")
    return lines
