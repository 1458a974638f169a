"""From a grid to its cells."""

from __future__ import annotations

from collections import Counter

import pytest

from lipflow_core.ablation.cells import Name
from lipflow_core.ablation.grid import load_grid
from lipflow_core.ablation.only import check_only
from lipflow_core.ablation.planning import plan_grid
from lipflow_core.errors import CompatibilityError, SpecError


def plan(systems, tasks=("decode",), **options):
    """Plan a grid at preset tiny."""
    content = {"name": "example", "systems": systems, "tasks": list(tasks), "set": {"preset": "tiny"}, **options}
    return plan_grid(load_grid(content))


def kinds(plan):
    return Counter(cell.kind for cell in plan.cells.values())


def test_every_cell_comes_after_those_that_it_needs():
    seen = set()
    for name, cell in plan({"reg": "dam-hmc-regressor"}, ["decode", "headset"]).cells.items():
        assert set(cell.needs.values()) <= seen
        seen.add(name)


def test_dam_and_the_first_stage_of_dam_reg_are_trained_once():
    found = plan({"dam": "dam", "hmc": "dam-hmc-regressor", "kpt": "dam-keypoint-regressor"})
    assert kinds(found)["train"] == 3
    dam, hmc, kpt = (cell for cell in found.cells.values() if cell.kind == "train")
    assert hmc.needs["after"] == kpt.needs["after"] == dam.name


def test_a_stage_that_another_training_does_not_share_is_trained_anew():
    found = plan({"dam": "dam-kl-1", "hmc": "dam-hmc-regressor"})
    assert kinds(found)["train"] == 3


def test_all_tasks_share_a_training_and_all_systems_a_capture():
    found = kinds(plan({"dam": "dam", "lip": "lip-flow-hmc"}, ["decode", "headset", "frontal", "keypoints"]))
    assert found == {"capture": 1, "train": 2, "choose": 6, "fit": 6, "score": 8}


def test_tasks_without_a_fit_share_their_scores():
    found = plan({"dam": "dam"}, ["decode", "forward"])
    assert kinds(found)["score"] == 1 and [one.code for one in found.scored] == ["posterior", "start"]


def test_a_task_with_a_temporal_prior_shares_the_choice_of_the_same_task_without():
    found = plan({"dam": "dam"}, ["perturbed-sequence", "perturbed-sequence-smooth"])
    assert kinds(found) == {"capture": 1, "train": 1, "choose": 1, "fit": 2, "score": 2}


def test_equal_systems_are_the_same_cells():
    found = plan({"dam": "dam", "again": {"spec": "dam", "set": {"seed": 0}}}, ["headset"])
    assert kinds(found)["score"] == 1 and [one.system for one in found.scored] == ["dam", "again"]


def test_only_the_training_depends_on_options_of_training():
    one = plan({"dam": "dam"}, ["headset"])
    other = plan({"dam": {"spec": "dam", "set": {"fitting.steps": 3}}}, ["headset"])
    shared = {cell.kind for name, cell in one.cells.items() if name in other.cells}
    assert shared == {"capture", "train"}


def test_where_a_capture_lies_and_how_it_is_made_name_no_cell(tmp_path):
    one = plan({"dam": "dam"})
    other = plan({"dam": {"spec": "dam", "set": {"capture.cache": str(tmp_path), "capture.workers": 2}}})
    assert list(one.cells) == list(other.cells)


def test_another_subject_changes_the_data_of_all_cells_and_nothing_else():
    one, other = (plan({"dam": "dam"}, axes={"capture.subject": [subject]}) for subject in ("p01", "p02"))
    for mine, yours in zip(one.cells, other.cells, strict=True):
        mine, yours = Name.of(mine), Name.of(yours)
        assert (mine.what, mine.how) == (yours.what, yours.how) and mine.data != yours.data


def test_axes_that_are_neither_seed_nor_subject_make_systems_of_their_own():
    found = plan({"lip": "lip-flow-hmc"}, axes={"flow.steps": [1, 2], "seed": [0, 1]})
    assert [one.system for one in found.scored] == ["lip[flow.steps=1]"] * 2 + ["lip[flow.steps=2]"] * 2
    assert [one.seed for one in found.scored] == [0, 1, 0, 1]


def test_seeds_are_planned_alike():
    both = plan({"reg": "dam-hmc-regressor"}, ["headset"], axes={"seed": [0, 7]})
    alone = plan({"reg": {"spec": "dam-hmc-regressor", "set": {"seed": 7}}}, ["headset"])
    assert set(alone.cells) < set(both.cells)
    for name, cell in alone.cells.items():
        assert both.cells[name].as_data() | {"label": ""} == cell.as_data() | {"label": ""}


def test_a_task_without_likelihood_drops_the_objectives_that_ask_the_prior():
    found = plan({"lip": "lip-flow-hmc"}, ["headset", "headset-without-likelihood"])
    asked = [
        [part["type"] for part in c.what["fitting"]["objectives"]] for c in found.cells.values() if c.kind == "fit"
    ]
    assert asked == [["photometric", "latent-likelihood"], ["photometric"]]


def test_a_misspelt_option_of_one_system_is_found_before_anything_runs():
    with pytest.raises(SpecError, match=r"system 'lip': override 'flow.stpes': flow.stpes: unknown option .* 'steps'"):
        plan({"dam": "dam", "lip": {"spec": "lip-flow-hmc", "set": {"flow.stpes": 2}}})


def test_a_value_that_is_wrong_at_one_point_of_the_axes_is_told_with_the_point():
    with pytest.raises(SpecError, match=r"system 'dam' at training.batch=0 seed=0"):
        plan({"dam": "dam"}, axes={"training.batch": [4, 0], "seed": [0, 1]})


def test_parts_that_do_not_fit_together_are_told_with_system_and_task():
    with pytest.raises(CompatibilityError, match=r"system 'dam', task 'own'.*there is no|system 'dam', task 'own'"):
        plan({"dam": "dam"}, [{"name": "own", "set": {"fitting.objectives": [{"type": "keypoint", "target": "face"}]}}])


def test_a_claim_about_a_metric_that_is_not_scored_is_told():
    with pytest.raises(
        SpecError, match=r"claim 'dam > lip .*': task 'decode' does not score metric 'pnsr'\n.*did you mean 'psnr'"
    ):
        plan({"dam": "dam", "lip": "lip-flow-hmc"}, claims=["dam > lip by 0.1 pnsr on decode"])


def test_a_claim_about_a_metric_that_only_another_task_scores_is_told():
    with pytest.raises(SpecError, match="task 'decode' does not score metric 'jitter'"):
        plan(
            {"dam": "dam", "lip": "lip-flow-hmc"},
            ["decode", "perturbed-sequence"],
            claims=["lip > dam by 0 jitter on decode"],
        )


def test_points_that_are_the_same_subject_and_seed_are_told():
    axes = {"capture.subject": ["p01"], "capture.identity": [1, 2]}
    with pytest.raises(SpecError, match=r"capture.identity=1 and .*capture.identity=2 are both subject"):
        plan({"dam": {"spec": "dam"}}, axes=axes)


def test_a_task_without_likelihood_needs_another_objective():
    alone = {"name": "alone", "set": {"fitting.objectives": ["latent-likelihood"]}, "likelihood": False}
    with pytest.raises(SpecError, match="but there is no other: 'latent-likelihood'"):
        plan({"dam": "dam"}, [alone])


def test_a_claim_about_a_point_that_does_not_exist_is_told():
    claims = ["lip[flow.steps=3] > lip[flow.steps=1] by 0.1 psnr on decode"]
    with pytest.raises(SpecError, match=r"no system 'lip\[flow.steps=3\]' does task 'decode'"):
        plan({"lip": "lip-flow-hmc"}, axes={"flow.steps": [1, 2]}, claims=claims)


def test_a_training_of_several_processes_is_refused():
    with pytest.raises(SpecError, match=r"system 'dam': training.devices or training.nodes is above 1"):
        plan({"dam": {"spec": "dam", "set": {"training.devices": 2}}})


def test_only_takes_axes_systems_and_tasks():
    grid = load_grid({"name": "a", "systems": {"dam": "dam"}, "tasks": ["decode"], "axes": {"seed": [0, 1]}})
    scored = plan({"dam": "dam"}, axes={"seed": [0, 1]}).scored
    wanted = check_only(grid, scored, ["seed=1", "system=dam"])
    assert [one.matches(wanted) for one in scored] == [False, True]
    with pytest.raises(SpecError, match="'seed' has no value '2'"):
        check_only(grid, scored, ["seed=2"])
    with pytest.raises(SpecError, match=r"there is no axis 'sead'\n.*did you mean 'seed'"):
        check_only(grid, scored, ["sead=0"])
