"""Grids of trivial cells: driven in this process, or by drivers of their own that may be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import trivial

from lipflow_core.ablation.cells import Plan
from lipflow_core.ablation.driver import Driven, drive
from lipflow_core.ablation.executors.local import LocalExecutor
from lipflow_core.ablation.folder import GridFolder
from lipflow_core.progress import progress

HERE = Path(__file__).parent


def run(
    plan: Plan, folder: Path, *, workers: int = 1, crashes: int = 50, lease_seconds: float = 120.0, **options
) -> Driven:
    """Drive a plan of trivial cells to its end."""
    grid = GridFolder(folder)
    executor = LocalExecutor(grid, workers, kinds=trivial.PLACE, crashes=crashes, lease_seconds=lease_seconds)
    with progress(len(plan.cells), "trivial", "cell", style="none") as bar, executor:
        return drive(plan, grid, executor, bar, **options)


def start(plan: str, folder: Path, **options) -> subprocess.Popen[bytes]:
    """Start a driver in a process of its own.

    Args:
        plan: Call of a function of `trivial` that gives the plan, such as "pairs(60)".
        folder: Folder of the grid.
        **options: Options of `run`.
    """
    program = f"import grids, trivial, pathlib; grids.run(trivial.{plan}, pathlib.Path({str(folder)!r}), **{options})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    return subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)


def workers_of(driver: subprocess.Popen[bytes]) -> list[int]:
    """Numbers of the child processes of a driver that lives."""
    try:
        text = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def starts(folder: Path, name: str) -> int:
    """How often a cell was started."""
    return len((folder / "cells" / name / "starts").read_text().splitlines())
