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

    call = f"pairs({trivial_cells}, seconds=0.02)"
    drivers = [grids.start(call, grid.path, workers=workers) for workers in (2, 1)]
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
            drivers[slot] = grids.start(call, grid.path, workers=2)
    assert [driver.wait(120) for driver in drivers] == [0, 0]
    results = [grid.cell(name).result() for name in plan.cells]
    assert len(killed) == kills and len(results) == trivial_cells
    assert [result.value["sum"] for result in results[1::2]] == [1000 + n for n in range(trivial_cells // 2)]
    # A cell starts again only if whoever ran it was killed, at most two workers at a time.
    assert sum(grids.starts(grid.path, name) - 1 for name in plan.cells) <= 2 * kills
    assert not [name for name in plan.cells if grid.cell(name).failed or (grid.cell(name).path / "error.json").exists()]


def test_two_drivers_at_once_run_each_cell_once(tmp_path):
    plan = trivial.pairs(60, seconds=0.01)
    drivers = [grids.start("pairs(60, seconds=0.01)", tmp_path / "grid", workers=2) for _ in range(2)]
    assert [driver.wait(120) for driver in drivers] == [0, 0]
    assert [grids.starts(tmp_path / "grid", name) for name in plan.cells] == [1] * 60


def test_cells_of_a_killed_driver_and_worker_go_on_at_once(tmp_path):
    grid, plan = GridFolder(tmp_path / "grid"), trivial.lingering()
    (name,) = plan.cells
    driver = grids.start("lingering()", grid.path)
    wait_for(lambda: (grid.cell(name).path / "starts").exists())
    (worker,) = grids.workers_of(driver)
    for pid in (driver.pid, worker):
        os.kill(pid, signal.SIGKILL)
    driver.wait()
    wait_for(lambda: not grid.is_claimed(name))
    (grid.cell(name).path / "end").touch()
    assert grids.run(plan, grid.path).ran == [name]


def test_a_worker_ends_when_its_driver_was_killed(tmp_path):
    grid = GridFolder(tmp_path / "grid")
    driver = grids.start("plan_of(trivial.cell('save'))", grid.path)
    (name,) = trivial.plan_of(trivial.cell("save")).cells
    wait_for(lambda: (grid.cell(name).path / "begun").exists())
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    wait_for(lambda: (grid.cell(name).path / "saved").exists())
    wait_for(lambda: not grid.is_claimed(name))


def test_a_worker_that_slept_through_its_lease_ends_and_publishes_nothing(tmp_path):
    grid, plan = GridFolder(tmp_path / "grid"), trivial.lingering()
    (name,) = plan.cells
    driver = grids.start("lingering()", grid.path, lease_seconds=1)
    wait_for(lambda: (grid.cell(name).path / "starts").exists())
    (sleeper,) = grids.workers_of(driver)
    os.kill(sleeper, signal.SIGSTOP)
    (grid.cell(name).path / "end").touch()
    try:
        assert grids.run(plan, grid.path, lease_seconds=1).ran == [name]
    finally:
        os.kill(sleeper, signal.SIGCONT)
    assert driver.wait(60) == 0
    assert grid.cell(name).result().value["worker"] != sleeper and grids.starts(grid.path, name) == 2
