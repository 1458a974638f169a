"""Writes a job array for Slurm, for sites that want no driver on the login node."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lipflow_core.ablation.cells import Plan
from lipflow_core.registry import command_line

MOST_TASKS = 16
"""Largest number of the array's tasks if the grid says nothing of it."""


def sbatch_script(
    plan: Plan, arguments: Sequence[str], out: Path, options: Mapping[str, str | int], *, workers: int, threads: int
) -> str:
    """Write a job array whose tasks claim cells until none is left. Each task is a driver of its own.

    Args:
        plan: The plan.
        arguments: Arguments of `lipflow-core ablate`: the grid and its overrides.
        out: Folder of the grid, on a file system that all machines share.
        options: Options of `sbatch` by name, which replace those below.
        workers: Worker processes of each task.
        threads: Threads of each worker.
    """
    trainings = sum(cell.kind == "train" for cell in plan.cells.values())
    tasks = max(1, min(MOST_TASKS, -(-trainings // workers)))
    given: dict[str, str | int] = {
        "job-name": plan.name or "ablation",
        "array": f"0-{tasks - 1}",
        "ntasks": 1,
        "cpus-per-task": workers * threads,
        "output": f"{out.absolute()}/slurm-%A_%a.log",
        # A minute before the job's time is up, trainings save and the claims are given back.
        "signal": "B:TERM@60",
        **options,
    }
    registries, disabled = command_line()
    common = [word for path in registries for word in ("--registry", str(path))]
    common += [word for name in disabled for word in ("--disable", name)]
    command = [sys.executable, "-m", "lipflow_core", "ablate", *arguments, "--out", str(out.absolute())]
    command += ["--workers", str(workers), *common]
    lines = ["#!/bin/bash", *(f"#SBATCH --{name}={value}" for name, value in given.items()), ""]
    lines += [f"cd {shlex.quote(os.getcwd())}"]
    kept = ("PYTHONPATH", "LIPFLOW_CORE_CACHE", "LIPFLOW_CORE_REGISTRY", "LIPFLOW_CORE_DISABLE")
    lines += [f"export {name}={shlex.quote(os.environ[name])}" for name in kept if os.environ.get(name)]
    # Signals reach the driver itself.
    lines += [f"exec {shlex.join(command)}", ""]
    return "\n".join(lines)
