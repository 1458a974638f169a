"""Drives a plan: starts the cells that can be started, until all are done or can't be."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lipflow_core.ablation.cells import Plan
from lipflow_core.ablation.executors import Executor
from lipflow_core.ablation.folder import GridFolder
from lipflow_core.ablation.work import Outcome
from lipflow_core.errors import Interrupted, LipflowError
from lipflow_core.progress import Progress
from lipflow_core.tables import counted

LOOK_AGAIN = 1.0
"""Seconds between two looks at cells that other drivers work on."""


@dataclass
class Driven:
    """Holds the outcome of a driver's run.

    Args:
        done: Number of cells that are done, whoever ran them.
        ran: Names of the cells that this driver's workers did.
        failed: Name → message of the cells that failed.
        blocked: Names of the cells that need one that failed.
    """

    done: int = 0
    ran: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)


class HaltedError(LipflowError):
    """No cell can go on; the exit code is that of the cause.

    Args:
        outcome: Outcome of the cell that noticed the change.
    """

    def __init__(self, outcome: Outcome):
        super().__init__(outcome.message, "What is done is kept; the same command goes on with the rest.")
        self.exit_code = outcome.exit_code


class _Queue:
    """Cells in the order in which they can be started."""

    def __init__(self, plan: Plan):
        self._order = {name: number for number, name in enumerate(plan.cells)}
        self._open = {name: set(cell.needs.values()) for name, cell in plan.cells.items()}
        self._wanted_by: dict[str, list[str]] = {}
        for name, cell in plan.cells.items():
            for needed in set(cell.needs.values()):
                self._wanted_by.setdefault(needed, []).append(name)
        self._ready = [(number, name) for name, number in self._order.items() if not self._open[name]]
        heapq.heapify(self._ready)

    def __len__(self) -> int:
        return len(self._ready)

    def pop(self) -> str:
        return heapq.heappop(self._ready)[1]

    def push(self, name: str) -> None:
        heapq.heappush(self._ready, (self._order[name], name))

    def done(self, name: str) -> None:
        for waiting in self._wanted_by.get(name, ()):
            self._open[waiting].discard(name)
            if not self._open[waiting]:
                self.push(waiting)

    def behind(self, name: str) -> list[str]:
        """List all cells that need one, directly or through others."""
        found: dict[str, None] = {}
        open_ends = [name]
        while open_ends:
            for waiting in self._wanted_by.get(open_ends.pop(), ()):
                if waiting not in found:
                    found[waiting] = None
                    open_ends.append(waiting)
        return list(found)


def drive(
    plan: Plan,
    grid: GridFolder,
    executor: Executor,
    progress: Progress,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Driven:
    """Run all cells of a plan that are not done.

    Cells that failed before count as failed; remove their `error.json` to run them again. Cells that other drivers
    work on are waited for.

    Args:
        plan: The plan.
        grid: Folder of the grid.
        executor: Executor that runs the cells, entered by the caller.
        progress: Progress that each cell advances.
        stop: Function that tells whether to stop; cells at work are saved then.

    Raises:
        HaltedError: If no cell can go on, because the disk is full or code was edited. What is done stays done.
        lipflow_core.errors.Interrupted: If `stop` returned True.
    """
    grid.make()
    driven, queue = Driven(), _Queue(plan)
    elsewhere: dict[str, None] = {}
    running: set[str] = set()
    looked = time.monotonic()

    def settle(name: str, failure: str | None = None) -> None:
        if failure is None:
            driven.done += 1
            queue.done(name)
        else:
            driven.failed[name] = failure
            progress.note(f"failed: {plan.cells[name].label}: {failure.splitlines()[0]}")
        told = {"running": len(running), **({"failed": len(driven.failed)} if driven.failed else {})}
        progress.advance(1, **told)

    def settled(name: str) -> bool:
        """Tell whether a cell is done or failed by what is on disk, and if so count it."""
        folder = grid.cell(name)
        if folder.done:
            settle(name)
        elif (error := folder.error()) is not None and not grid.is_claimed(name):
            settle(name, error.message)
        else:
            return False
        return True

    while True:
        while executor.free and len(queue):
            name = queue.pop()
            if settled(name):
                continue
            if grid.is_claimed(name):
                elsewhere[name] = None
                continue
            running.add(name)
            executor.start(plan.cells[name])
        if elsewhere and time.monotonic() - looked > LOOK_AGAIN:
            looked = time.monotonic()
            for name in list(elsewhere):
                if settled(name) or not grid.is_claimed(name):
                    del elsewhere[name]
                    if not grid.cell(name).done and name not in driven.failed:
                        queue.push(name)
            continue
        if not running and not elsewhere and not len(queue):
            break
        if stop():
            raise Interrupted(
                f"interrupted with {counted(driven.done, 'cell')} done; the same command goes on with the others"
            )
        if not running:
            time.sleep(LOOK_AGAIN / 4)
            continue
        for outcome in executor.wait(LOOK_AGAIN / 4):
            running.discard(outcome.cell)
            _handle(outcome, driven, settle, elsewhere)
    blocked = dict.fromkeys(name for failed in driven.failed for name in queue.behind(failed))
    driven.blocked = [name for name in blocked if name not in driven.failed]
    return driven


def _handle(outcome: Outcome, driven: Driven, settle: Callable[..., None], elsewhere: dict[str, None]) -> None:
    if outcome.status == "done":
        driven.ran.append(outcome.cell)
        settle(outcome.cell)
    elif outcome.status == "failed":
        settle(outcome.cell, outcome.message)
    elif outcome.status == "halted":
        raise HaltedError(outcome)
    else:
        elsewhere[outcome.cell] = None
