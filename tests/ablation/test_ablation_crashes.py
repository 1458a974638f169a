"""Nothing that is done is lost, and no cell runs twice at once, whoever is killed when.

The full test: python -m pytest tests/ablation/test_ablation_crashes.py --cells 600 --kills 24
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import grids
import pytest
import trivial

from lipflow_core.ablation.folder import GridFolder

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds the workers of a driver in /proc")


def wait_for(condition, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


def test_kills_at_random_lose_no_cell_and_run_none_twice_at_once(tmp_path, trivial_cells, kills):
    plan, chance, killed = trivial.pairs(trivial_cells, seconds=0.02), random.Random(0), []
    grid = GridFolder(tmp_path / "grid")

    def done() -> int:
        return sum(grid.cell(name).done for name in plan.cells)

    drivers = [grids.start(trivial_cells, 0.02, grid.path), grids.start(trivial_cells, 0.02, grid.path, workers=1)]
    for number in range(kills):
        wait_for(lambda share=(number + 1) / (kills + 1): done() >= share * trivial_cells * 0.9)
        slot = chance.randrange(2)
        workers = grids.workers_of(drivers[slot])
        victim = chance.choice([drivers[slot].pid, *workers])
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
        if victim == drivers[slot].pid:
            drivers[slot].wait()
            drivers[slot] = grids.start(trivial_cells, 0.02, grid.path)
    assert [driver.wait(120) for driver in drivers] == [0, 0]
    results = [grid.cell(name).result() for name in plan.cells]
    assert len(killed) == kills and len(results) == trivial_cells
    assert [result.value["sum"] for result in results[1::2]] == [1000 + n for n in range(trivial_cells // 2)]
    # A cell starts again only if whoever ran it was killed, at most two workers at a time.
    assert sum(grids.starts(grid.path, name) - 1 for name in plan.cells) <= 2 * kills
    assert not [name for name in plan.cells if grid.cell(name).failed or (grid.cell(name).path / "error.json").exists()]


def test_two_drivers_at_once_run_each_cell_once(tmp_path):
    plan = trivial.pairs(60, seconds=0.01)
    drivers = [grids.start(60, 0.01, tmp_path / "grid") for _ in range(2)]
    assert [driver.wait(120) for driver in drivers] == [0, 0]
    assert [grids.starts(tmp_path / "grid", name) for name in plan.cells] == [1] * 60


def test_workers_end_when_their_driver_is_killed_and_its_cells_go_on_at_once(tmp_path):
    driver = grids.start(2, 30.0, tmp_path / "grid", workers=1)
    grid, plan = GridFolder(tmp_path / "grid"), trivial.pairs(2, seconds=30.0)
    first = next(iter(plan.cells))
    wait_for(lambda: (grid.cell(first).path / "starts").exists())
    (worker,) = grids.workers_of(driver)
    os.kill(driver.pid, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    driver.wait()
    wait_for(lambda: not grid.is_claimed(first))
    assert grids.run(trivial.pairs(2), grid.path).done == 2
