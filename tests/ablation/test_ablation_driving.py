"""Driving a plan: what runs, what does not, and what is told."""

from __future__ import annotations

from pathlib import Path

import grids
import pytest
import trivial

from lipflow_core.ablation.cells import Cell
from lipflow_core.ablation.code import _changes_results, edited_version
from lipflow_core.ablation.driver import HaltedError
from lipflow_core.ablation.folder import GridFolder
from lipflow_core.ablation.leases import Lease
from lipflow_core.ablation.work import work_on
from lipflow_core.errors import Interrupted


@pytest.fixture
def grid(tmp_path):
    folder = GridFolder(tmp_path / "grid")
    folder.make()
    return folder


def test_cells_run_after_those_that_they_need(grid):
    plan = trivial.pairs(8)
    driven = grids.run(plan, grid.path, workers=2)
    assert driven.done == 8 and len(driven.ran) == 8
    assert [grid.cell(name).result().value["sum"] for name in plan.cells][1::2] == [1000, 1001, 1002, 1003]


def test_a_done_cell_never_runs_again(grid):
    plan = trivial.pairs(4)
    grids.run(plan, grid.path)
    driven = grids.run(plan, grid.path)
    assert driven.done == 4 and not driven.ran
    assert [grids.starts(grid.path, name) for name in plan.cells] == [1] * 4


def test_a_failure_holds_no_other_cell_up_but_those_that_need_it(grid):
    bad = trivial.cell("fail")
    behind, good = trivial.after(bad), trivial.cell(number=5)
    driven = grids.run(trivial.plan_of(bad, behind, good), grid.path)
    assert driven.failed == {bad.name: "the loss is not finite"}
    assert driven.blocked == [behind.name] and driven.ran == [good.name]


def test_a_failure_is_kept_with_the_last_lines_of_its_log(grid):
    bad = trivial.cell("fail")
    grids.run(trivial.plan_of(bad), grid.path)
    error = grid.cell(bad.name).error()
    assert error.message == "the loss is not finite" and "the last line of the log" in error.lines


def test_a_failed_cell_is_not_run_again_by_itself(grid):
    bad = trivial.cell("fail")
    grids.run(trivial.plan_of(bad), grid.path)
    assert grids.run(trivial.plan_of(bad), grid.path).failed and grid.cell(bad.name).error().attempt == 1


def test_a_cell_that_hangs_is_ended_by_its_limit_and_others_go_on(grid):
    first, slow, last = trivial.cell(), trivial.cell("hang", limit=1), trivial.cell(number=5)
    driven = grids.run(trivial.plan_of(first, slow, last), grid.path)
    assert driven.failed == {slow.name: "it ran longer than its limit of 1 s"}
    assert grid.cell(slow.name).error().lines == ("waiting for a lost machine",)
    assert driven.ran == [first.name, last.name] and not grid.is_claimed(slow.name)


def test_a_cell_that_ends_its_workers_fails_after_some(grid):
    deadly = trivial.cell("die")
    driven = grids.run(trivial.plan_of(deadly), grid.path, crashes=2)
    assert driven.failed == {deadly.name: "2 workers ended over it, the last with exit code 3"}


def test_a_full_disk_halts_the_grid_and_the_same_command_goes_on(grid):
    full = trivial.cell("fill")
    plan = trivial.plan_of(trivial.cell(number=3), full, trivial.cell(number=4))
    with pytest.raises(HaltedError, match="the disk is full") as caught:
        grids.run(plan, grid.path)
    assert caught.value.exit_code == 8 and not grid.cell(full.name).failed
    (grid.cell(full.name).path / "room").touch()
    driven = grids.run(plan, grid.path)
    assert driven.done == 3 and len(driven.ran) == 2


def test_a_stop_lets_cells_save_and_gives_them_back(grid):
    long = trivial.cell("save")
    with pytest.raises(Interrupted, match="0 cells done"):
        grids.run(trivial.plan_of(long), grid.path, stop=(grid.cell(long.name).path / "begun").exists)
    assert (grid.cell(long.name).path / "saved").exists() and not grid.is_claimed(long.name)


def test_a_cell_that_another_process_works_on_is_waited_for(grid):
    one = trivial.cell()
    folder = grid.cell(one.name).path
    folder.mkdir()
    lease = Lease.take(folder, grid.clock)
    looks = []

    def stop() -> bool:
        looks.append(1)
        if len(looks) == 3:
            lease.release()
        return False

    assert grids.run(trivial.plan_of(one), grid.path, stop=stop).ran == [one.name]


def test_a_worker_that_was_taken_over_publishes_nothing(grid):
    one = trivial.cell()

    def taken_over(task):
        (task.folder / "claim-000002").touch()
        return {}

    assert work_on(one, grid, {"count": taken_over}).status == "elsewhere"
    assert not grid.cell(one.name).done


def test_code_that_is_edited_between_two_cells_halts_the_grid(grid, tmp_path, monkeypatch):
    (tmp_path / "edited_often.py").write_text("answer = 41\n")
    monkeypatch.syspath_prepend(tmp_path)
    version = edited_version("edited_often", "0.1.0")
    first, second = (
        Cell("count", {"number": number}, how={"code": {"edited_often": version}}, label=f"count {number}")
        for number in range(2)
    )
    assert work_on(first, grid, trivial.KINDS).status == "done"
    (tmp_path / "edited_often.py").write_text("answer = 42.0\n")
    halted = work_on(second, grid, trivial.KINDS)
    assert halted.status == "halted" and "edited_often was edited while the grid ran" in halted.message


def test_code_of_cells_and_of_planning_counts_as_code_of_results_and_the_rest_of_ablations_does_not():
    def counts(name):
        return _changes_results(Path(name))

    assert all(map(counts, ("fitting/fit.py", "ablation/kinds.py", "ablation/planning.py", "ablation/prefixes.py")))
    assert not any(map(counts, ("ablation/driver.py", "cli/ablate.py", "testing/prior.py")))
