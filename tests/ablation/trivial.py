"""Trivial kinds of cells, each a function of a few lines, and plans of them."""

from __future__ import annotations

import os
import time

from lipflow_core.ablation.cells import Cell, Plan
from lipflow_core.ablation.work import Task
from lipflow_core.errors import NumericalError


def count(task: Task) -> dict[str, int]:
    """Note in a file that the cell ran, exclusively: a second process at the same time fails."""
    busy = task.folder / "busy"
    descriptor = os.open(busy, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    os.close(descriptor)
    time.sleep(task.cell.options.get("seconds", 0))
    return {"sum": task.cell.what["number"] + sum(n.result().value["sum"] for n in task.needs.values())}


def fail(task: Task) -> dict[str, int]:
    """Fail as a training does whose loss is not finite."""
    print("the last line of the log")
    raise NumericalError("the loss is not finite")


def hang(task: Task) -> dict[str, int]:
    """Never end."""
    print("waiting for a lost machine", flush=True)
    while True:
        time.sleep(60)


def die(task: Task) -> dict[str, int]:
    """End the process, as a segmentation fault does."""
    os._exit(3)


KINDS = {"count": count, "fail": fail, "hang": hang, "die": die}
PLACE = f"{__name__}:KINDS"


def chain(length: int, *, tail: str = "count", **options) -> Plan:
    """A plan whose every cell needs the one before."""
    cells: dict[str, Cell] = {}
    last: dict[str, str] = {}
    for number in range(length):
        kind = tail if number == length - 1 else "count"
        cell = Cell(kind, {"number": number}, needs=last, label=f"{kind} {number}", options=options)
        cells[cell.name] = cell
        last = {"before": cell.name}
    return Plan(cells)


def many(count: int, *, code: str = "0.1.0", **options) -> Plan:
    """A plan of independent pairs: a cell, and one that needs it."""
    cells: dict[str, Cell] = {}
    how = {"code": {"lipflow-core": code}}
    for number in range(count // 2):
        first = Cell("count", {"number": number}, how=how, label=f"first {number}", options=options)
        second = Cell(
            "count", {"number": -1}, how=how, needs={"first": first.name}, label=f"second {number}", options=options
        )
        cells |= {first.name: first, second.name: second}
    return Plan(cells)
