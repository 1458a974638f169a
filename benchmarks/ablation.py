"""Measure the engine of ablations: planning a grid, its status, and the overhead of cells that do nothing."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lipflow_core.ablation.cells import Cell, Plan
from lipflow_core.ablation.driver import drive
from lipflow_core.ablation.executors.local import LocalExecutor
from lipflow_core.ablation.folder import GridFolder
from lipflow_core.ablation.grid import load_grid
from lipflow_core.ablation.planned import Planned, recall, remember
from lipflow_core.ablation.planning import plan_grid
from lipflow_core.ablation.status import status_of
from lipflow_core.progress import progress

KINDS = {"nothing": lambda task: {}}
SYSTEMS = {"dam": "dam", "reg": "dam-hmc-regressor", "lip-flow": "lip-flow-hmc"}


def timed(label: str, work: Callable[[], Any]) -> Any:
    """Print the wall-clock and processor time of some work, and give its result."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    print(f"{label:48}  {time.perf_counter() - clock:8.2f} s  {time.process_time() - processor:8.2f} s of CPU")
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000, help="number of cells")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    args = parser.parse_args()
    count = -(-args.cells // 15)
    grid = {"name": "seeds", "systems": SYSTEMS, "tasks": ["decode", "headset"], "set": {"preset": "tiny"}}
    seeds = load_grid({**grid, "axes": {"seed": list(range(count))}})
    rates = load_grid({**grid, "axes": {"training.stages.0.learning_rate": [1e-3 + 1e-6 * i for i in range(count)]}})
    timed("first plan, which imports torch", lambda: plan_grid(load_grid({**grid, "axes": {}})))
    plan = timed(f"plan of {count} seeds", lambda: plan_grid(seeds))
    print(f"  {len(plan.cells)} cells")
    plan = timed(f"plan of {count} learning rates", lambda: plan_grid(rates))
    print(f"  {len(plan.cells)} cells")
    cells = [Cell("nothing", {"number": number}, label=f"nothing {number}") for number in range(args.cells)]
    trivial = Plan({cell.name: cell for cell in cells})
    with tempfile.TemporaryDirectory() as folder:
        place = GridFolder(Path(folder) / "grid")
        place.make()
        remember(Planned.of(trivial), "benchmark", place)
        executor = LocalExecutor(place, args.workers, kinds="ablation:KINDS")
        with progress(None, "trivial", style="none") as bar, executor:
            timed(f"run of {args.cells} cells that do nothing", lambda: drive(trivial, place, executor, bar))
        timed("status of them", lambda: status_of(recall("benchmark", place), place).text())


if __name__ == "__main__":
    main()
