"""A real grid at preset tiny: two systems, two seeds, two tasks, with worker processes."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import safetensors.torch
import torch

import lipflow_core
from lipflow_core.ablation import Ablation
from lipflow_core.ablation.cells import Name
from lipflow_core.ablation.folder import GridFolder
from lipflow_core.ablation.kinds import KINDS
from lipflow_core.ablation.work import work_on
from lipflow_core.cli import main

GRID = {
    "name": "whole",
    "systems": {"dam": "dam", "reg": "dam-hmc-regressor"},
    "axes": {"seed": [0, 1]},
    "tasks": [
        "decode",
        {
            "name": "headset",
            "like": "headset",
            "set": {
                "fitting.steps": 3,
                "fitting.grid.learning_rate": [0.1, 0.5],
                "fitting.grid.latent_weight": [0.01],
            },
        },
    ],
    "set": {"preset": "tiny"},
    "baseline": "dam",
    "claims": ["reg > dam by 0.1 psnr on headset"],
}


@pytest.fixture(scope="module")
def ablation(tmp_path_factory):
    return lipflow_core.ablate(GRID, tmp_path_factory.mktemp("ablation") / "whole", workers=2)


@pytest.fixture
def command(ablation, tmp_path, capsys):
    """Call `lipflow-core ablate` with the grid: exit code and what it printed."""
    path = tmp_path / "whole.yaml"
    path.write_text(json.dumps(GRID), encoding="utf-8")

    def call(*arguments: str) -> tuple[int, str]:
        code = main(["ablate", str(path), "--out", str(ablation.folder.path), *arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


def cell(ablation, label):
    return next(cell for cell in ablation.plan.cells.values() if cell.label == label)


def weights(folder):
    return safetensors.torch.load_file(folder / "weights.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_every_cell_is_done(ablation):
    assert ablation.driven.done == len(ablation.plan.cells) == 21 and not ablation.failed


def test_the_table_has_a_row_for_each_combination_frame_and_metric(ablation):
    rows = list(ablation.rows())
    assert len(rows) == 2 * 2 * 2 * 4 * 4 and all(math.isfinite(row["value"]) for row in rows)
    assert list(rows[0]) == ["system", "task", "subject", "seed", "sequence", "frame", "metric", "value"]
    with open(ablation.folder.path / "table.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [float(row["value"]) for row in written] == [row["value"] for row in rows]


def test_nothing_is_run_a_second_time(ablation):
    again = lipflow_core.ablate(GRID, ablation.folder.path, workers=1)
    assert not again.driven.ran and again.driven.done == 21


def test_claims_are_judged_by_the_scores(ablation):
    (finding,) = ablation.findings()
    assert finding.claim == ablation.grid.claims[0] and finding.verdict == "undecided"
    assert len(finding.comparison.runs) == 2 and finding.comparison.unpaired == 0


def test_verdicts_are_printed_with_each_caution_and_advice_once(command, ablation):
    code, text = command()
    (finding,) = ablation.findings()
    assert code == 0 and finding.sentence in text and "nothing to do, all 21 cells were done before" in text
    for told in (*finding.comparison.cautions, finding.comparison.components.advice):
        assert text.count(told) == 1


def test_means_and_differences_have_the_digits_units_and_arrows_of_their_metrics(command, ablation):
    _, text = command()
    (finding,) = ablation.findings()
    assert text.count("PSNR ↑ dB") == 2 and "system − dam" in text
    difference = next(one for one in ablation.verdicts().differences if (one.task, one.metric) == ("headset", "psnr"))
    assert difference.overall == finding.comparison.overall and f"{difference.overall.mean:+.2f} ± " in text


def test_verdicts_and_cautions_are_written_as_json(command, ablation):
    code, text = command("--json")
    written = json.loads((ablation.folder.path / "findings.json").read_text())
    printed = json.loads(text)
    assert code == 0 and printed.items() >= written.items() and len(written["differences"]) == 2 * 4
    assert written["findings"][0]["comparison"]["cautions"] == list(ablation.findings()[0].comparison.cautions)


def test_a_run_of_a_part_leaves_the_whole_table(command, ablation):
    command()
    whole = (ablation.folder.path / "table.csv").read_bytes()
    assert command("--only", "seed=1")[0] == 0
    assert (ablation.folder.path / "table.csv").read_bytes() == whole


def test_systems_are_compared_at_each_point_of_further_axes(ablation, tmp_path):
    shutil.copytree(ablation.folder.path, tmp_path / "points")
    axes = {"seed": [0], "evaluation.frames": [3, 4]}
    claims = ["reg[evaluation.frames=3] > dam[evaluation.frames=3] by 0.1 psnr on decode"]
    points = lipflow_core.ablate(
        {**GRID, "axes": axes, "tasks": ["decode"], "claims": claims}, tmp_path / "points", workers=1
    )
    verdicts = points.verdicts()
    assert {(one.system, one.other) for one in verdicts.differences} == {
        (f"reg[evaluation.frames={frames}]", f"dam[evaluation.frames={frames}]") for frames in (3, 4)
    }
    assert verdicts.findings[0].comparison.frames == 3


def test_the_grid_in_the_folder_is_a_grid_file(ablation):
    again = Ablation.open(ablation.folder.path / "grid.json", ablation.folder.path)
    assert list(again.plan.cells) == list(ablation.plan.cells) and again.grid.claims == ablation.grid.claims


def test_a_training_in_cells_is_the_training_of_the_whole_spec_bit_for_bit(ablation, tmp_path):
    overrides = ["preset=tiny", "seed=1", "training.threads=1"]
    lipflow_core.train(lipflow_core.load_spec("dam-hmc-regressor", overrides), tmp_path / "run")
    ran = ablation.folder.cell(cell(ablation, "train reg seed=1 stage 2").name).path / "run"
    assert same(weights(tmp_path / "run"), weights(ran))


def test_scores_are_those_of_evaluate(ablation):
    scored = cell(ablation, "score dam seed=0 headset")
    options = scored.options["spec"]
    overrides = [f"{name}={json.dumps(options[name])}" for name in ("fitting", "evaluation")]
    model = ablation.folder.cell(scored.needs["model"]).path / "run"
    expected = lipflow_core.evaluate([model], overrides=overrides).models[0]
    for metric, values in expected.scores["fitted"].items():
        found = [
            row["value"]
            for row in ablation.rows()
            if (row["system"], row["seed"], row["task"], row["metric"]) == ("dam", 0, "headset", metric)
        ]
        assert found == pytest.approx(values, rel=1e-4)


def test_a_stopped_training_cell_goes_on_from_its_checkpoint(ablation, tmp_path):
    wanted = cell(ablation, "train dam seed=0")
    grid, steps = GridFolder(tmp_path / "grid"), []
    grid.make()
    (capture,) = (ablation.plan.cells[name] for name in wanted.needs.values())
    assert work_on(capture, grid, KINDS).status == "done"
    threads = torch.get_num_threads()
    try:
        stopped = work_on(wanted, grid, KINDS, stop=lambda: steps.append(1) or len(steps) == 5)
        finished = work_on(wanted, grid, KINDS, stop=lambda: steps.append(1) is not None)
    finally:
        torch.set_num_threads(threads)
    assert (stopped.status, finished.status, len(steps)) == ("stopped", "done", 8)
    folder = grid.cell(wanted.name)
    assert folder.result().attempt == 2
    assert same(weights(folder.path / "run"), weights(ablation.folder.cell(wanted.name).path / "run"))


def test_the_status_is_told_without_planning_anew_and_without_torch(ablation, tmp_path):
    path = tmp_path / "whole.yaml"
    path.write_text(json.dumps(GRID), encoding="utf-8")
    arguments = ["ablate", str(path), "--out", str(ablation.folder.path), "--status"]
    program = f"import sys; from lipflow_core.cli import main; code = main({arguments}); "
    program += "print('torch' in sys.modules, code)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-2].split() == ["all", "21", "0", "0", "0", "0"]
    assert ran.stdout.splitlines()[-1] == "False 0"


def test_why_tells_what_a_cell_was_made_of(command):
    code, text = command("--why", "fit dam seed=0 headset")
    assert code == 0 and "fit dam seed=0 headset: done" in text and "needs chosen: choose dam seed=0 headset" in text
    assert "numerics threads: 1" in text and "code lipflow-core: 0.1.0" in text


def test_a_misspelt_cell_is_explained(command):
    code, text = command("--why", "fit dma seed=0 headset")
    assert code == 2 and "Did you mean 'fit dam seed=0 headset'?" in text


def test_a_dry_run_lists_all_cells_and_runs_none(command, ablation):
    code, text = command("--dry-run", "axes.seed=[0, 1, 2]")
    assert code == 0 and "31 cells: 1 capture, 6 train, 6 choose, 6 fit, 12 score" in text
    assert "waiting  train dam seed=2" in text and len(ablation.folder.names()) == 21


def test_a_dry_run_finds_what_is_misspelt(command):
    code, text = command("--dry-run", "systems.reg.set.training.stages.1.stpes=3")
    assert code == 3 and "system 'reg' at seed=0" in text and "did you mean 'steps'" in text


def test_a_part_of_the_grid_can_be_asked_for(command):
    code, text = command("--dry-run", "--only", "system=reg", "--only", "seed=1", "--only", "task=decode")
    assert code == 0 and "4 cells: 1 capture, 2 train, 1 score" in text


def test_a_failed_cell_gives_an_exit_code_and_its_reason(command):
    arguments = ("axes.seed=[5]", "limits.train=0.001", "--only", "system=dam")
    code, text = command(*arguments)
    assert code == 1 and "1 cell failed, 4 that need them were not run" in text
    code, text = command("--status", *arguments)
    assert code == 1 and "it ran longer than its limit of 0.001 s" in text


def test_a_failed_cell_is_run_again_when_asked(command):
    arguments = ("axes.seed=[6]", "--only", "system=dam", "--only", "task=decode")
    assert command(*arguments, "limits.train=0.001")[0] == 1
    assert command(*arguments)[0] == 1
    assert command(*arguments, "--rerun", "failed")[0] == 0


@pytest.fixture
def aged(ablation, tmp_path):
    """The grid in a copy of its folder, as version 0.0.9 would have left it."""
    shutil.copytree(ablation.folder.path, tmp_path / "aged")
    for name in ablation.plan.cells:
        folder = tmp_path / "aged" / "cells" / name
        key = json.loads((folder / "key.json").read_text())
        key["how"]["code"]["lipflow-core"] = "0.0.9"
        (folder / "key.json").write_text(json.dumps(key))
        folder.rename(folder.with_name(str(replace(Name.of(folder.name), how="00000000"))))
    return Ablation.open(GRID, tmp_path / "aged")


def test_cells_of_other_code_are_not_run_anew_unasked(aged):
    with pytest.raises(
        lipflow_core.LipflowError, match=r"21 cells .*\nstale: code lipflow-core 0.0.9 → 0.1.0"
    ) as caught:
        aged.run()
    assert "--adopt" in caught.value.hint


def test_adopted_cells_give_the_same_table(aged, ablation):
    assert len(aged.adopt()) == 21
    assert not aged.run().ran and list(aged.rows()) == list(ablation.rows())
    assert "adopted: code lipflow-core 0.0.9 → 0.1.0" in aged.why("train dam seed=0")


def test_a_job_array_claims_cells_until_none_is_left(command, tmp_path):
    code, text = command("--write-sbatch", str(tmp_path / "job.sh"), "--workers", "2", "execution.sbatch={time: 60}")
    script = (tmp_path / "job.sh").read_text()
    assert code == 0 and "sbatch" in text
    assert "#SBATCH --array=0-1\n" in script and "#SBATCH --time=60\n" in script
    assert "#SBATCH --cpus-per-task=2\n" in script and "--workers 2" in script
