"""`lipflow-core ablate`: run a grid of systems and tasks, and tell what of it is done."""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("grid", metavar="GRID", help="grid file, or name of a shipped grid (see --list)", nargs="?")
    parser.add_argument(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="options to change: of all systems, such as preset=tiny, or of the grid, such as 'axes.seed=[0]'",
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the grid; ablations/NAME if not given")
    parser.add_argument("--workers", metavar="N", type=int, help="number of worker processes")
    parser.add_argument(
        "--only",
        metavar="AXIS=VALUE",
        action="append",
        default=[],
        help="run a part: system=NAME, task=NAME, seed=0 …",
    )
    parser.add_argument(
        "--rerun",
        choices=("failed", "stale"),
        action="append",
        default=[],
        help="run failed cells again, or those anew that other code has done",
    )
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--list", action="store_true", help="list the shipped grids and tasks")
    doing.add_argument("--dry-run", action="store_true", help="plan every cell and list them; run nothing")
    doing.add_argument("--status", action="store_true", help="tell what is done, running, waiting, failed and stale")
    doing.add_argument("--why", metavar="CELL", help="explain the state of one cell")
    doing.add_argument("--adopt", action="store_true", help="accept cells that other code has done")
    doing.add_argument("--merge", metavar="OTHER", help="copy the cells that are done in another folder")
    doing.add_argument("--write-sbatch", metavar="FILE", help="write a Slurm job array whose tasks run the cells")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="show no progress")
    shown.add_argument(
        "--json",
        action="store_true",
        help="print the state of all cells as JSON, after a run the verdicts too; no progress",
    )


def run(args: argparse.Namespace) -> int:
    """Run the grid, or do what else was asked."""
    from pathlib import Path

    from lipflow_core.ablation.ablate import Ablation, dry_run_text
    from lipflow_core.ablation.grid import load_grid, load_task, shipped_grids, shipped_tasks
    from lipflow_core.errors import UsageError
    from lipflow_core.tables import counted, table

    if args.list:
        print(table(("grids", ""), [(name, "") for name in shipped_grids()]))
        print()
        print(table(("tasks", ""), [(name, load_task(name).summary) for name in shipped_tasks()]))
        return 0
    if args.grid is None:
        raise UsageError("no grid given", "Name a grid file or a shipped grid; --list lists them.")
    grid = load_grid(args.grid, args.overrides)
    out = Path(args.out or f"ablations/{grid.name}")
    ablation = Ablation.open(grid, out, only=args.only)
    if args.status:
        return _show_status(ablation, args.json)
    if args.why is not None:
        print(ablation.why(args.why))
        return 0
    if args.dry_run:
        print(dry_run_text(ablation.plan, ablation.status()))
        return 0
    if args.merge is not None:
        from lipflow_core.ablation.adoption import merge

        copied, busy = merge(Path(args.merge), ablation.folder)
        print(f"{counted(len(copied), 'cell')} copied" + (f", {len(busy)} left out: at work here" if busy else ""))
        return 0
    if args.adopt:
        print(f"{counted(len(ablation.adopt()), 'cell')} adopted")
        return 0
    if args.write_sbatch is not None:
        return _write_sbatch(ablation, args)
    return _run(ablation, args)


def _run(ablation, args: argparse.Namespace) -> int:
    from lipflow_core.tables import counted, printable
    from lipflow_core.training.signals import StopOnSignal

    with StopOnSignal() as stop:
        driven = ablation.run(
            workers=args.workers,
            rerun=args.rerun,
            stop=stop,
            style="none" if args.quiet or args.json else "auto",
        )
    if args.json:
        return _show_status(ablation, True, verdicts=True)
    print(printable(ablation.means_text()))
    if args.only:
        print("The means are of the part that was asked for; what follows is of the whole grid.")
    if told := ablation.verdicts().text():
        print(printable(told))
    print(f"written to {ablation.folder.path}: table.csv, findings.json, cells/")
    if not driven.failed:
        return 0
    waiting = f", {len(driven.blocked)} that need them were not run" if driven.blocked else ""
    print(f"lipflow-core: {counted(len(driven.failed), 'cell')} failed{waiting}; --status shows why", file=sys.stderr)
    return 1


def _show_status(ablation, as_json: bool, *, verdicts: bool = False) -> int:
    import json

    status = ablation.status()
    if as_json:
        cells = {
            name: {"kind": status.kinds[name], "label": status.labels[name], "state": state}
            | ({"error": status.errors[name].model_dump(mode="json")} if name in status.errors else {})
            for name, state in status.states.items()
        }
        concluded = ablation.verdicts().model_dump(mode="json") if verdicts else {}
        print(json.dumps({"cells": cells, "cpu_hours_left": status.hours_left, **concluded}, indent=1))
    else:
        print(status.text())
        if status.having("stale"):
            print(ablation.stale_text(status))
    return 1 if status.having("failed") else 0


def _write_sbatch(ablation, args: argparse.Namespace) -> int:
    from pathlib import Path

    from lipflow_core.ablation.executors.sbatch import sbatch_script
    from lipflow_core.storage import write_atomically

    execution = ablation.grid.execution
    arguments = [args.grid, *args.overrides, *(word for text in args.only for word in ("--only", text))]
    text = sbatch_script(
        ablation.plan,
        arguments,
        ablation.folder.path,
        execution.sbatch,
        workers=args.workers or execution.workers,
        threads=execution.threads,
    )
    ablation.folder.make()  # for the logs of the job
    write_atomically(Path(args.write_sbatch), text)
    print(f"submit it with: sbatch {args.write_sbatch}")
    return 0
