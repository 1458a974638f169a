"""Working on one cell: claim it, run it, publish its result. Imports no torch."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from lipflow_core.ablation.cells import Cell
from lipflow_core.ablation.code import CodeChangedError, check_unchanged
from lipflow_core.ablation.folder import ERROR, RESULT, CellError, CellFolder, CellResult, GridFolder
from lipflow_core.ablation.leases import SECONDS, Lease, remove_claims
from lipflow_core.errors import Interrupted, LipflowError, StorageError, UsageError
from lipflow_core.storage import make_folder, remove_temporaries, write_atomically

Status = Literal["done", "failed", "elsewhere", "waiting", "stopped", "halted"]


@dataclass(frozen=True)
class Outcome:
    """Holds the outcome of working on a cell.

    Args:
        cell: Name of the cell.
        status: "done"; "failed"; "elsewhere" if another process works on it; "waiting" if a cell that it needs is not
            done; "stopped" if it was told to stop; "halted" if no cell can go on: the disk is full or can't be written,
            or code was edited.
        message: Description of the failure; empty if there was none.
        seconds: How long it took.
        exit_code: Exit code of the error.
    """

    cell: str
    status: Status
    message: str = ""
    seconds: float = 0.0
    exit_code: int = 0

    def as_data(self) -> dict[str, Any]:
        """Give the outcome as JSON data; `Outcome(**data)` reads it."""
        return asdict(self)


@dataclass(frozen=True)
class Task:
    """Holds the inputs of the work on a cell.

    Args:
        cell: The cell.
        folder: Its folder. It may hold what an earlier attempt left, which the work takes up or replaces.
        needs: Role → folder of the done cell that has this role.
        stop: Function that tells whether the work should save and raise `lipflow_core.errors.Interrupted`.
    """

    cell: Cell
    folder: Path
    needs: Mapping[str, CellFolder] = field(default_factory=dict)
    stop: Callable[[], bool] = lambda: False


Kinds = Mapping[str, Callable[[Task], Mapping[str, Any]]]
"""Kind of cells → function that does their work and returns JSON data for `result.json`."""

GRACE = 20.0
"""Seconds that a worker has to save and end after its driver went away. Then it ends at once."""

KINDS = "lipflow_core.ablation.kinds:KINDS"
"""Where the kinds of a grid's cells are: "MODULE:NAME" of a `Kinds`."""


def load_kinds(place: str) -> Kinds:
    """Import the kinds of cells from "MODULE:NAME"."""
    module, _, name = place.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the kinds of cells can't be imported from '{place}': {error}") from error


def work_on(
    cell: Cell,
    grid: GridFolder,
    kinds: Kinds,
    *,
    stop: Callable[[], bool] = lambda: False,
    lost: Callable[[], None] = lambda: os._exit(75),
    lease_seconds: float = SECONDS,
) -> Outcome:
    """Claim a cell, run it unless it is done, and publish its result.

    Args:
        cell: The cell.
        grid: Folder of its grid.
        kinds: Kinds of cells.
        stop: Function that tells whether the work should save and end.
        lost: Function called in another thread if the cell was taken over; ends the process by default.
        lease_seconds: Seconds without a sign of life after which others may take the cell over.
    """
    begun = time.perf_counter()

    def outcome(status: Status, message: str = "", exit_code: int = 0) -> Outcome:
        return Outcome(cell.name, status, message, round(time.perf_counter() - begun, 3), exit_code)

    folder = grid.cell(cell.name)
    lease = None
    try:
        make_folder(folder.path, within=grid.path)
        if folder.done:
            return outcome("done")
        lease = Lease.take(folder.path, grid.clock, lease_seconds)
        if lease is None:
            return outcome("elsewhere")
        if folder.done:  # between the first look and the claim
            remove_claims(folder.path)
            return outcome("done")
        needs = {role: grid.cell(name) for role, name in cell.needs.items()}
        if not all(needed.done for needed in needs.values()):
            return outcome("waiting")
        lease.keep(lost)
        check_unchanged(cell.how.get("code", {}))
        remove_temporaries(folder.path)
        grid.write_key(cell)
        value = _run(kinds, Task(cell, folder.path, needs, stop), lease)
        if not lease.held:
            return outcome("elsewhere")
        write_atomically(folder.path / RESULT, value.json_text(), within=grid.path)
    except Interrupted as error:
        return outcome("stopped", error.message, error.exit_code)
    except (StorageError, CodeChangedError) as error:
        return outcome("halted", str(error), error.exit_code)
    except Exception as error:
        failure = outcome("failed", *_told(error))
        if lease is None:
            return failure
        try:
            note_failure(grid, cell.name, failure.message, failure.seconds, lease.number)
        except StorageError as full:
            return outcome("halted", str(full), full.exit_code)
        return failure
    finally:
        if lease is not None:
            lease.release()
    (folder.path / ERROR).unlink(missing_ok=True)
    remove_claims(folder.path)
    return outcome("done")


def note_failure(grid: GridFolder, name: str, message: str, seconds: float, attempt: int) -> None:
    """Write `error.json` of a cell, with the last lines of its log."""
    folder = grid.cell(name)
    failure = CellError(message=message, seconds=seconds, attempt=attempt, lines=folder.last_lines())
    write_atomically(folder.path / ERROR, failure.json_text(), within=grid.path)


def _run(kinds: Kinds, task: Task, lease: Lease) -> CellResult:
    if task.cell.kind not in kinds:
        raise UsageError(f"there is no kind of cells '{task.cell.kind}'")
    clock, processor = time.perf_counter(), _processor_seconds()
    value = kinds[task.cell.kind](task)
    return CellResult(
        kind=task.cell.kind,
        label=task.cell.label,
        seconds=round(time.perf_counter() - clock, 3),
        cpu_seconds=round(_processor_seconds() - processor, 3),
        attempt=lease.number,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        value=dict(value),
    )


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _told(error: Exception) -> tuple[str, int]:
    """Message and exit code of an error; its traceback goes to the log if it is a bug."""
    if isinstance(error, LipflowError):
        print(error, flush=True)
        return str(error), error.exit_code
    traceback.print_exc()
    return f"{type(error).__name__}: {error}", 70
