"""Ablations: the public entry."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipflow_core.ablation import adoption, table
from lipflow_core.ablation.cells import Cell, Plan
from lipflow_core.ablation.driver import Driven, drive
from lipflow_core.ablation.executors import Executor
from lipflow_core.ablation.executors.local import LocalExecutor
from lipflow_core.ablation.folder import ERROR, FINDINGS, GRID, GridFolder, changes
from lipflow_core.ablation.grid import Grid, load_grid
from lipflow_core.ablation.only import check_only
from lipflow_core.ablation.planned import Planned, recall, remember, request_of
from lipflow_core.ablation.planning import plan_grid
from lipflow_core.ablation.status import Status, former_of, stale_text, status_of
from lipflow_core.errors import UsageError
from lipflow_core.progress import Style, progress
from lipflow_core.registry import default_registry
from lipflow_core.spelling import closest
from lipflow_core.storage import write_atomically
from lipflow_core.tables import counted

if TYPE_CHECKING:
    from lipflow_core.ablation.statistics import Finding
    from lipflow_core.ablation.verdicts import Verdicts


def ablate(
    grid: Grid | str | os.PathLike[str] | Mapping[str, Any],
    out: str | os.PathLike[str],
    overrides: Iterable[str] = (),
    *,
    workers: int | None = None,
    only: Sequence[str] = (),
    rerun: Sequence[str] = (),
    executor: Callable[[GridFolder], Executor] | None = None,
    stop: Callable[[], bool] = lambda: False,
    style: Style = "none",
) -> Ablation:
    """Run every cell of a grid that is not done: train, choose hyper-parameters, fit and score.

    All cells are planned before the first one runs. Called again with the same arguments, it goes on where it ended,
    however it ended. Any number of calls may work on one folder at the same time.

    Args:
        grid: Grid file, name of a shipped grid, or its content as plain data.
        out: Folder of the grid.
        overrides: Changes of the grid such as "preset=tiny" or "axes.seed=[0]" (see `load_grid`).
        workers: Number of worker processes; the grid's `execution.workers` if None.
        only: Which part of the grid to run, such as "seed=0" or "system=dam"; several values of one axis add up.
        rerun: "failed" to run failed cells again; "stale" to run cells anew that other code has done.
        executor: Function from the grid's folder to the executor to run cells with; worker processes if None.
        stop: Function that tells whether to save and stop.
        style: How progress is shown.

    Returns:
        The grid with its folder. `failed` tells which cells failed; `rows()` gives the scores.

    Raises:
        lipflow_core.errors.SpecError: If the grid, or a spec at some point of it, is invalid.
        lipflow_core.errors.UsageError: If cells are stale, and `rerun` does not say to run them anew.
        lipflow_core.errors.Interrupted: If `stop` returned True; trainings are saved.
        HaltedError: If the disk is full, or code was edited meanwhile. What is done is kept.

    Example:
        >>> grid = {"name": "one", "systems": {"dam": "dam"}, "tasks": ["decode"], "set": {"preset": "tiny"}}
        >>> ablation = lipflow_core.ablate(grid, "ablations/one")
        >>> sorted({row["metric"] for row in ablation.rows()})
        ['geom', 'millimetres', 'psnr', 'ssim']
    """
    ablation = Ablation.open(grid, out, overrides, only=only)
    ablation.run(workers=workers, rerun=rerun, executor=executor, stop=stop, style=style)
    return ablation


@dataclass
class Ablation:
    """A grid and its folder.

    Args:
        grid: The grid.
        folder: Its folder.
        only: Which part of the grid is meant, such as ("seed=0",).
        driven: Outcome of the last `run`.
    """

    grid: Grid
    folder: GridFolder
    only: tuple[str, ...] = ()
    driven: Driven = field(default_factory=Driven)

    @classmethod
    def open(
        cls,
        grid: Grid | str | os.PathLike[str] | Mapping[str, Any],
        out: str | os.PathLike[str],
        overrides: Iterable[str] = (),
        *,
        only: Sequence[str] = (),
    ) -> Ablation:
        """Load a grid and open its folder; nothing runs. The arguments are those of `ablate`."""
        grid = grid if isinstance(grid, Grid) else load_grid(grid, overrides)
        return cls(grid, GridFolder(Path(out)), tuple(only))

    @cached_property
    def plan(self) -> Plan:
        """All cells, in the order in which they are run; made on first use.

        Raises:
            lipflow_core.errors.SpecError: If a spec is invalid at some point of the grid.
        """
        plan = self._whole.plan if self.only else plan_grid(self.grid)
        if self.only:
            wanted = check_only(self.grid, plan.scored, self.only)
            kept = tuple(one for one in plan.scored if one.matches(wanted))
            plan = Plan(plan.cells, kept, plan.name).restricted([one.cell for one in kept])
        if self.folder.exists:
            remember(Planned.of(plan), self._request, self.folder)
        return plan

    @property
    def failed(self) -> dict[str, str]:
        """Cell → message of those that failed when `run` was called last."""
        return self.driven.failed

    def run(
        self,
        *,
        workers: int | None = None,
        rerun: Sequence[str] = (),
        executor: Callable[[GridFolder], Executor] | None = None,
        stop: Callable[[], bool] = lambda: False,
        style: Style = "none",
    ) -> Driven:
        """Run every cell that is not done. Arguments and errors are those of `ablate`."""
        plan, grid, execution = self.plan, self.folder, self.grid.execution
        grid.make()
        remember(Planned.of(plan), self._request, grid)
        status = status_of(Planned.of(plan), grid)
        stale = status.having("stale")
        if stale and "stale" not in rerun:
            raise UsageError(
                f"{counted(len(stale), 'cell')} were done by other code or numerics\n" + self.stale_text(status),
                "Accept them with --adopt if the change makes no difference, or run them anew with --rerun stale.",
            )
        if "failed" in rerun:
            for name in status.having("failed"):
                for file in (ERROR, "result.json"):  # a failed cell has a result only if that is damaged
                    (grid.cell(name).path / file).unlink(missing_ok=True)
        if executor is None:
            count = execution.workers if workers is None else workers

            def executor(grid: GridFolder) -> Executor:
                return LocalExecutor(grid, count, threads=execution.threads, lease_seconds=execution.lease)

        write_atomically(grid.path / GRID, self.grid.model_dump_json(indent=1) + "\n", within=grid.path)
        idle = status.count("done") == len(plan.cells)
        label = f"ablate {self.grid.name}"
        if idle:
            told = f"all {counted(len(plan.cells), 'cell')} were done before"
            progress(0, label, style=style).note(f"{label}: nothing to do, {told}")
        with progress(len(plan.cells), label, "cell", style="none" if idle else style) as bar:
            bar.resume_at(0)
            with executor(grid) as running:
                self.driven = drive(plan, grid, running, bar, stop=stop)
        table.write_table(self._whole.plan, grid)
        write_atomically(grid.path / FINDINGS, self.verdicts().json_text(), within=grid.path)
        return self.driven

    def status(self) -> Status:
        """Look at what is done, running, waiting, failed and stale. Plans anew only if grid, specs or code changed."""
        return status_of(self._planned, self.folder)

    def stale_text(self, status: Status) -> str:
        """Say which parts of the stale cells' keys changed."""
        return "\n".join(stale_text(status, self.folder, self._planned.how))

    def why(self, word: str) -> str:
        """Explain the state of one cell, named by its label or by the beginning of its name.

        Raises:
            lipflow_core.errors.UsageError: If no cell, or more than one, is called so.
        """
        cell = self._named(word)
        folder = self.folder.cell(cell.name)
        status = status_of(Planned.of(self.plan), self.folder)
        lines = [f"{cell.label}: {status.states[cell.name]}", f"folder: {folder.path}"]
        if folder.done:
            result = folder.result()
            took = f"{result.seconds:g} s ({result.cpu_seconds:g} CPU s)"
            lines.append(f"done {result.finished} in {took}, attempt {result.attempt}")
            adopted = (folder.key() or {}).get("adopted", [])
            lines += [f"adopted: {', '.join(changes(how, cell.how))}" for how in adopted]
        if (error := folder.error()) is not None:
            lines += [f"failed after {error.seconds:g} s: {error.message}", *(f"  | {line}" for line in error.lines)]
        for former in former_of(cell.name, self.folder.others(), self.folder) if not folder.done else ():
            key = self.folder.cell(former).key() or {"how": {}}
            lines.append(f"stale: {', '.join(changes(key['how'], cell.how)) or 'what it needs changed'} (see {former})")
        for role, name in cell.needs.items():
            lines.append(f"needs {role}: {self.plan.cells[name].label}: {status.states[name]}")
        lines += [f"{part} {name}: {value}" for part, held in cell.how.items() for name, value in held.items()]
        return "\n".join([*lines, f"data: {cell.data}"])

    def adopt(self) -> list[str]:
        """Accept cells that other code or numerics have done; give their names (see `adoption.adopt`)."""
        return adoption.adopt(self.plan, self.folder)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the scores: a row for each combination that is done, each frame and each metric (see `table.rows`).

        `pandas.DataFrame(ablation.rows())` makes a data frame of them.
        """
        return table.rows(self.plan, self.folder)

    def findings(self) -> tuple[Finding, ...]:
        """Judge the grid's claims by the scores of the whole grid that are done (see `statistics.judge`).

        Read `finding.comparison.cautions` and `finding.comparison.components.advice` beside a verdict.
        """
        return self.verdicts().findings

    def verdicts(self) -> Verdicts:
        """Compare each system with the baseline and judge the claims, by the scores of the whole grid that are done."""
        from lipflow_core.ablation.verdicts import Verdicts

        return Verdicts.of(self.grid, self._whole.plan, self.folder)

    def means_text(self) -> str:
        """Print the mean of each metric by task and system."""
        return table.means_text(self.plan, self.folder)

    @cached_property
    def _whole(self) -> Ablation:
        """The same grid, not restricted to a part."""
        return Ablation(self.grid, self.folder) if self.only else self

    @property
    def _planned(self) -> Planned:
        if "plan" in self.__dict__:
            return Planned.of(self.plan)
        return recall(self._request, self.folder) or Planned.of(self.plan)

    @cached_property
    def _request(self) -> str:
        return request_of(self.grid, self.only, default_registry())

    def _named(self, word: str) -> Cell:
        cells = self.plan.cells.values()
        found = [cell for cell in cells if cell.label == word] or [c for c in cells if c.name.startswith(word)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"'{word}' may be {', '.join(cell.name for cell in found)}", "Give more of the name.")
        meant = closest(word, [cell.label for cell in cells])
        raise UsageError(
            f"there is no cell '{word}'", f"Did you mean '{meant}'?" if meant else "--dry-run lists all cells."
        )


def dry_run_text(plan: Plan, status: Status) -> str:
    """List all cells of a plan, with their state."""
    lines = [f"{name}  {status.states[name]:7}  {cell.label}" for name, cell in plan.cells.items()]
    total = ", ".join(f"{count} {kind}" for kind, count in plan.kinds())
    return "\n".join([*lines, f"{counted(len(plan.cells), 'cell')}: {total}"])
