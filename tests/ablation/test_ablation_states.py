"""What is done, failed, running, waiting and stale; adopting and merging."""

from __future__ import annotations

import grids
import pytest
import trivial

from lipflow_core.ablation.adoption import adopt, merge
from lipflow_core.ablation.folder import GridFolder
from lipflow_core.ablation.leases import Lease
from lipflow_core.ablation.planned import Planned, recall, remember
from lipflow_core.ablation.status import Status, stale_text, status_of
from lipflow_core.errors import StorageError, UsageError


@pytest.fixture
def grid(tmp_path):
    folder = GridFolder(tmp_path / "grid")
    folder.make()
    return folder


def status(plan, grid):
    return status_of(Planned.of(plan), grid)


def test_the_status_counts_done_running_waiting_and_failed_cells(grid):
    done, bad, running = trivial.cell(), trivial.cell("fail"), trivial.cell(number=9)
    plan = trivial.plan_of(done, bad, running, trivial.after(bad))
    grids.run(trivial.plan_of(done, bad), grid.path)
    grid.cell(running.name).path.mkdir()
    Lease.take(grid.cell(running.name).path, grid.clock)
    found = status(plan, grid)
    assert list(found.states.values()) == ["done", "failed", "running", "waiting"]
    assert "failed: fail 0" in found.text() and "| the last line of the log" in found.text()


def test_cost_left_is_told_by_what_cells_took(grid):
    plan = trivial.pairs(8, seconds=0)
    grids.run(trivial.plan_of(next(iter(plan.cells.values()))), grid.path)
    found = status(plan, grid)
    (took,) = found.cpu_seconds["count"]
    assert found.hours_left == pytest.approx(7 * took / 3600) and not found.unknown


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(5.2, "left: about 5 s of CPU time"), (720, "left: about 12 min of"), (12240, "left: about 3.4 h of")],
)
def test_what_is_left_is_told_in_the_unit_that_suits_it(seconds, told):
    found = Status({"a": "done", "b": "waiting"}, {"a": "fit", "b": "fit"}, {}, cpu_seconds={"fit": [seconds]})
    assert told in found.text()


def test_kinds_of_unknown_cost_are_told():
    kinds = {"a": "train", "b": "fit", "c": "score"}
    found = Status(dict.fromkeys(kinds, "waiting"), kinds, {})
    assert "left: train, fit, score: CPU time not known before a first cell of that kind is done" in found.text()


def test_cells_that_earlier_code_has_done_are_stale_and_what_changed_is_told(grid):
    grids.run(trivial.pairs(4), grid.path)
    plan = trivial.pairs(4, code="0.1.1")
    found = status(plan, grid)
    assert found.count("stale") == 4
    told = stale_text(found, grid, Planned.of(plan).how)
    assert told == ["stale: code lipflow-core 0.1.0 → 0.1.1 (4 cells)"]


def test_adopted_cells_count_as_done_and_remember_what_they_were_done_by(grid):
    grids.run(trivial.pairs(4), grid.path)
    plan = trivial.pairs(4, code="0.1.1")
    assert adopt(plan, grid) == list(plan.cells)
    assert status(plan, grid).count("done") == 4
    assert not grids.run(plan, grid.path).ran
    assert grid.cell(next(iter(plan.cells))).key()["adopted"] == [{"code": {"lipflow-core": "0.1.0"}}]


def test_what_was_begun_anew_makes_way_for_what_is_adopted(grid):
    grids.run(trivial.plan_of(trivial.cell()), grid.path)
    new = trivial.cell(code="0.1.1")
    (grid.cell(new.name).path).mkdir()
    (grid.cell(new.name).path / "begun").touch()
    assert adopt(trivial.plan_of(new), grid) == [new.name]
    assert grid.cell(new.name).done and not (grid.cell(new.name).path / "begun").exists()


def test_a_cell_at_work_is_not_adopted(grid):
    grids.run(trivial.plan_of(trivial.cell()), grid.path)
    new = trivial.cell(code="0.1.1")
    grid.cell(new.name).path.mkdir()
    Lease.take(grid.cell(new.name).path, grid.clock)
    assert not adopt(trivial.plan_of(new), grid)


def test_merging_copies_the_done_cells_that_are_missing(grid, tmp_path):
    plan = trivial.pairs(4)
    first = next(iter(plan.cells.values()))
    other = GridFolder(tmp_path / "other")
    grids.run(plan, other.path)
    grids.run(trivial.plan_of(first), grid.path)
    copied, busy = merge(other.path, grid)
    assert len(copied) == 3 and not busy and status(plan, grid).count("done") == 4
    assert status(plan, other).count("done") == 4


def test_merging_leaves_cells_that_are_not_done(grid, tmp_path):
    other = GridFolder(tmp_path / "other")
    grids.run(trivial.plan_of(trivial.cell("fail")), other.path)
    assert merge(other.path, grid) == ([], [])


def test_merging_refuses_links(grid, tmp_path):
    other = GridFolder(tmp_path / "other")
    one = trivial.cell()
    grids.run(trivial.plan_of(one), other.path)
    (other.cell(one.name).path / "link").symlink_to("/etc")
    with pytest.raises(StorageError, match="Links"):
        merge(other.path, grid)


def test_merging_something_else_is_refused(grid, tmp_path):
    with pytest.raises(UsageError, match="holds no ablation"):
        merge(tmp_path, grid)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StorageError, match="is not empty and holds no ablation"):
        GridFolder(tmp_path)


def test_looking_at_a_grid_makes_no_folder(tmp_path):
    grid = GridFolder(tmp_path / "grid")
    assert status(trivial.pairs(4), grid).count("waiting") == 4 and not grid.path.exists()


def test_a_damaged_result_counts_as_failed(grid):
    one = trivial.cell()
    grids.run(trivial.plan_of(one), grid.path)
    (grid.cell(one.name).path / "result.json").write_text("{")
    found = status(trivial.plan_of(one), grid)
    assert found.having("failed") == [one.name]


def test_a_plan_is_kept_for_the_next_status(grid):
    planned = Planned.of(trivial.pairs(4))
    remember(planned, "0123", grid)
    assert recall("0123", grid) == planned and recall("4567", grid) is None
