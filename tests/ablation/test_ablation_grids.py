"""Grid files: what they say, and what is told of mistakes."""

from __future__ import annotations

import pytest

from lipflow_core.ablation.grid import load_grid, load_task, shipped_grids, shipped_tasks
from lipflow_core.ablation.planning import plan_grid
from lipflow_core.errors import SpecError

GRID = """\
name: example
systems:
  dam: dam
  lip: {spec: lip-flow-hmc, set: {flow.steps: 2}}
axes:
  seed: [0, 1]
tasks:
  - decode
  - {name: short, like: headset, set: {fitting.steps: 3}}
set: {preset: tiny}
baseline: dam
claims:
  - lip > dam by 0.1 psnr on short
"""


@pytest.fixture
def written(tmp_path):
    """Write a grid file: `written(old, new)` replaces one text in the example by another."""

    def write(old: str = "", new: str = ""):
        assert old in GRID
        path = tmp_path / "grid.yaml"
        path.write_text(GRID.replace(old, new, 1) if old else GRID, encoding="utf-8")
        return path

    return write


def test_a_grid_names_systems_axes_tasks_and_claims(written):
    grid = load_grid(written())
    assert grid.systems["lip"].set == {"flow.steps": 2} and grid.axes == {"seed": [0, 1]}
    assert [task.name for task in grid.tasks] == ["decode", "short"]
    assert (grid.claims[0].system, grid.claims[0].margin, grid.claims[0].task) == ("lip", 0.1, "short")


def test_a_task_is_laid_over_the_shipped_one_that_it_is_like(written):
    short = load_grid(written()).tasks[1]
    assert short.score == "fitted" and short.set["fitting.steps"] == 3
    assert short.set["fitting.grid"] == load_task("headset").set["fitting.grid"]


def test_overrides_change_the_grid_or_all_its_systems(written):
    grid = load_grid(written(), ["axes.seed=[3]", "preset=small", "training.batch=8", "execution.workers=2"])
    assert grid.axes == {"seed": [3]} and grid.set == {"preset": "small", "training.batch": 8}
    assert grid.execution.workers == 2


@pytest.mark.parametrize("override", ["seed=5", "set.seed=5", "systems.lip.set.seed=5"])
def test_an_option_that_is_an_axis_is_not_changed_beside_it(written, override):
    with pytest.raises(SpecError, match=r"'seed' is an axis, .* 5 would have no effect; .* 'axes.seed=\[5\]'"):
        load_grid(written(), [override])


def test_overrides_of_axes_and_systems_take_paths_of_specs(written):
    grid = load_grid(written(), ["axes.training.batch=[2, 4]", "systems.lip.set.flow.coupling=affine"])
    assert grid.axes == {"seed": [0, 1], "training.batch": [2, 4]}
    assert grid.systems["lip"].set == {"flow.steps": 2, "flow.coupling": "affine"}


def test_overrides_of_tasks_take_paths_of_specs(written):
    grid = load_grid(written(), ["tasks.1.set.fitting.steps=4"])
    assert grid.tasks[1].set["fitting.steps"] == 4


def test_a_task_may_switch_the_grid_of_the_shipped_one_off(written):
    def kinds(path):
        return {cell.kind for cell in plan_grid(load_grid(path)).cells.values()}

    assert "choose" in kinds(written())
    assert "choose" not in kinds(written("{fitting.steps: 3}", "{fitting.grid: null}"))


def test_a_system_may_do_some_of_the_tasks(written):
    plan = plan_grid(load_grid(written("dam: dam", "dam: {spec: dam, tasks: [short]}")))
    assert {(one.system, one.task) for one in plan.scored} == {("dam", "short"), ("lip", "decode"), ("lip", "short")}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "baseline: dam",
            "baseline: dma",
            r"grid.yaml:11:11: baseline: there is no system 'dma'; did you mean 'dam'\?",
        ),
        ("- decode", "- decoed", r"grid.yaml:8:5: tasks.0: there is no shipped task 'decoed'; did you mean 'decode'\?"),
        ("axes:", "axis:", r"grid.yaml:5:1: axis: unknown option 'axis'; did you mean 'axes'\?"),
        ("on short", "on shrot", r"grid.yaml:13:5: claims.0: there is no task 'shrot'; did you mean 'short'\?"),
        ("lip > dam", "lap > dam", r"grid.yaml:13:5: claims.0: there is no system 'lap'; did you mean 'lip'\?"),
        ("lip > dam by", "lip better than dam by", r"grid.yaml:13:5: claims.0: .* is not a claim such as"),
        ("fitting.steps: 3", "training.batch: 3", r"grid.yaml:9:40: .*: a task can't change 'training.batch'"),
        ("[0, 1]", "[0, 0]", r"grid.yaml:6:13: axes.seed.1: the value 0 stands here a second time"),
        ("[0, 1]", "[]", r"grid.yaml:6:9: axes.seed: should have at least 1 entry"),
        ("name: short", "name: decode", r"tasks.1: the task 'decode' stands here a second time"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_was_meant(written, old, new, told):
    with pytest.raises(SpecError, match=told):
        load_grid(written(old, new))


def test_a_misspelt_grid_is_told(tmp_path):
    with pytest.raises(SpecError, match="there is no file and no shipped grid 'papre'"):
        load_grid("papre")


@pytest.mark.parametrize("name", shipped_grids())
def test_shipped_grids_fit_together(name):
    assert plan_grid(load_grid(name, ["preset=tiny"])).scored


@pytest.mark.parametrize("name", shipped_tasks())
def test_shipped_tasks_are_named_like_their_files(name):
    assert load_task(name).name == name and load_task(name).summary


def test_no_two_shipped_tasks_have_the_same_summary():
    summaries = [load_task(name).summary for name in shipped_tasks()]
    assert len(set(summaries)) == len(summaries)
