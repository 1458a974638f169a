"""Trivial kinds of cells, each a function of a few lines, and plans of them."""

from __future__ import annotations

import fcntl
import os
import time

from lipflow_core.ablation.cells import Cell, Plan
from lipflow_core.ablation.work import Task
from lipflow_core.errors import Interrupted, NumericalError, StorageError


def count(task: Task) -> dict[str, int]:
    """Add up numbers. Leaves a line for each start, and fails if another process runs the cell at the same time."""
    with open(task.folder / "starts", "a") as starts:
        fcntl.flock(starts, fcntl.LOCK_EX | fcntl.LOCK_NB)
        starts.write(f"{os.getpid()}\n")
        starts.flush()
        time.sleep(task.cell.options.get("seconds", 0))
        return {"sum": task.cell.what["number"] + sum(n.result().value["sum"] for n in task.needs.values())}


def fail(task: Task) -> dict[str, int]:
    """Fail as a training does whose loss is not finite; not if the cell's folder holds a cure."""
    print("the last line of the log", flush=True)
    if (task.folder / "cure").exists():
        return {"sum": 0}
    raise NumericalError("the loss is not finite")


def hang(task: Task) -> dict[str, int]:
    """Never end."""
    print("waiting for a lost machine", flush=True)
    while True:
        time.sleep(60)


def die(task: Task) -> dict[str, int]:
    """End the process, as a segmentation fault does."""
    os._exit(3)


def fill(task: Task) -> dict[str, int]:
    """Find the disk full, until the cell's folder holds a sign of room."""
    if (task.folder / "room").exists():
        return {"sum": 0}
    raise StorageError("the disk is full")


def save(task: Task) -> dict[str, int]:
    """Work until told to stop, and save."""
    (task.folder / "begun").touch()
    while not task.stop():
        time.sleep(0.01)
    (task.folder / "saved").touch()
    raise Interrupted("saved")


def linger(task: Task) -> dict[str, int]:
    """Work until the cell's folder holds a sign to end."""
    with open(task.folder / "starts", "a") as starts:
        starts.write(f"{os.getpid()}\n")
    while not (task.folder / "end").exists():
        time.sleep(0.005)
    return {"worker": os.getpid()}


KINDS = {"linger": linger, "count": count, "fail": fail, "hang": hang, "die": die, "fill": fill, "save": save}
PLACE = f"{__name__}:KINDS"


def plan_of(*cells: Cell) -> Plan:
    """A plan of cells, each after those that it needs."""
    return Plan({cell.name: cell for cell in cells}, name="trivial")


def cell(kind: str = "count", number: int = 0, code: str = "0.1.0", limit: float | None = None, **options) -> Cell:
    """A cell that needs no other."""
    return Cell(
        kind,
        {"number": number},
        how={"code": {"lipflow-core": code}},
        label=f"{kind} {number}",
        options=options,
        limit=limit,
    )


def after(first: Cell, kind: str = "count", number: int = 1, **options) -> Cell:
    """A cell that needs another."""
    return Cell(
        kind,
        {"number": number},
        how=first.how,
        needs={"first": first.name},
        label=f"{kind} {number} after {first.label}",
        options=options,
    )


def lingering() -> Plan:
    """A plan of one cell that works until it is told to end."""
    return plan_of(cell("linger"))


def pairs(count: int, code: str = "0.1.0", **options) -> Plan:
    """A plan of cells, each second of which needs the one before."""
    cells = []
    for number in range(count // 2):
        first = cell(number=number, code=code, **options)
        cells += [first, after(first, number=1000, **options)]
    return plan_of(*cells)
