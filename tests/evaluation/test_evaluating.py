"""Evaluating trained models: what is scored, written, resumed and printed."""

from __future__ import annotations

import csv
import json
import math

import pytest
from safetensors.torch import load_file

import lipflow_core
from lipflow_core.cli import main
from lipflow_core.errors import LipflowError, ModelError, StorageError, UsageError
from lipflow_core.evaluation.folder import read_evaluation
from lipflow_core.evaluation.result import CODES, METRICS, Evaluation, ModelScores

OPTIONS = ["fitting.steps=3"]


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """The evaluation of both models, and its folder."""
    out = tmp_path_factory.mktemp("evaluation")
    return lipflow_core.evaluate(trained.values(), out=out, overrides=OPTIONS, without_likelihood=True), out


def test_every_code_has_every_metric_for_every_frame(evaluated):
    evaluation, _ = evaluated
    assert [model.name for model in evaluation.models] == ["dam", "lip-flow-hmc"]
    for model in evaluation.models:
        assert len(model.frames) == 4
        assert set(model.scores) == set(CODES)
        for metrics in model.scores.values():
            assert set(metrics) == set(METRICS)
            assert all(len(values) == 4 and all(map(math.isfinite, values)) for values in metrics.values())


def test_the_files_say_what_the_result_says(evaluated):
    evaluation, out = evaluated
    assert read_evaluation(out).as_data() == evaluation.as_data()
    model = evaluation.models[1]
    with open(out / model.folder / "frames.csv", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [(line["segment"], int(line["frame"])) for line in lines] == [tuple(frame) for frame in model.frames]
    assert [float(line["fitted_psnr"]) for line in lines] == model.scores["fitted"]["psnr"]
    fits = load_file(out / model.folder / "fits.safetensors")
    assert fits["fitted.codes"].shape == fits["fitted.starts"].shape == (4, 8)
    assert fits["fitted.curves.total"].shape == (4, 4)


def test_pictures_are_kept_of_as_many_frames_as_the_report_shows(evaluated):
    _, out = evaluated
    for kind in ("target", "mask", "posterior", "start", "fitted", "seen-headset"):
        assert len(list((out / "lip-flow-hmc" / "pictures").glob(f"*.{kind}.png"))) == 2


def test_a_model_that_is_done_is_not_run_again(evaluated, trained, capsys):
    evaluation, out = evaluated
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")}
    again = lipflow_core.evaluate(trained.values(), out=out, overrides=OPTIONS, without_likelihood=True)
    assert [model.as_data() for model in again.models] == [model.as_data() for model in evaluation.models]
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")} == before


def test_other_options_run_a_model_again(trained, tmp_path):
    dam = [trained["dam"]]
    first = lipflow_core.evaluate(dam, out=tmp_path, frames=2, overrides=["fitting.steps=1"])
    second = lipflow_core.evaluate(dam, out=tmp_path, frames=2, overrides=["fitting.steps=2"])
    assert first.models[0].identity != second.models[0].identity
    assert read_evaluation(tmp_path).models[0].identity == second.models[0].identity


def test_a_damaged_result_is_made_again(trained, tmp_path):
    dam = [trained["dam"]]
    lipflow_core.evaluate(dam, out=tmp_path, frames=2, overrides=["fitting.steps=1"])
    (tmp_path / "dam" / "result.json").write_text("{", encoding="utf-8")
    lipflow_core.evaluate(dam, out=tmp_path, frames=2, overrides=["fitting.steps=1"])
    json.loads((tmp_path / "dam" / "result.json").read_text(encoding="utf-8"))


def test_a_grid_search_is_told_of(trained, capsys):
    arguments = ["evaluate", str(trained["dam"]), "fitting.steps=2", "fitting.grid={frames: 2}", "--count", "2"]
    assert main(arguments) == 0
    assert "grid search chose learning rate" in capsys.readouterr().out


def test_the_command_prints_a_table_and_json(trained, capsys):
    models = [str(path) for path in trained.values()]
    assert main(["evaluate", *models, "fitting.steps=1", "--count", "2", "--quiet"]) == 0
    table = capsys.readouterr().out
    assert "PSNR ↑" in table and "before fitting" in table and "2 held-out frames" in table
    assert main(["evaluate", *models, "fitting.steps=1", "--count", "2", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in data["models"]] == ["dam", "lip-flow-hmc"]
    assert math.isfinite(data["models"][0]["mean"]["fitted"]["psnr"])


def test_a_model_whose_path_has_an_equals_sign_is_no_override(trained, tmp_path, capsys):
    (tmp_path / "lr=0.1").symlink_to(trained["dam"], target_is_directory=True)
    arguments = ["evaluate", str(tmp_path / "lr=0.1"), "fitting.steps=1", "--count", "1", "--quiet"]
    assert main(arguments) == 0
    assert "dam" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evaluate", "fitting.steps=1"], "no model given"),
        (["evaluate", "m", "--count", "0"], "at least one frame is needed"),
        (["sample", "m", "--count", "0"], "at least one sample is needed"),
    ],
)
def test_wrong_use_ends_with_its_code(arguments, told, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == UsageError.exit_code == 2
    assert told in capsys.readouterr().err


def test_a_folder_without_a_model_ends_with_its_code(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == ModelError.exit_code
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "fit", "sample"])
def test_a_file_in_the_way_is_told_before_any_work(command, trained, tmp_path, capsys):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert main([command, str(trained["dam"]), "--out", str(tmp_path / "file" / "out")]) == StorageError.exit_code
    assert "is a file, not a folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_a_folder_without_an_evaluation_is_named(tmp_path):
    with pytest.raises(LipflowError, match=r"holds no evaluation"):
        read_evaluation(tmp_path)


def scores(name, psnr, capture="c"):
    columns = {"psnr": psnr, "ssim": [0.5] * len(psnr), "geom": [0.1] * len(psnr), "millimetres": [1.0] * len(psnr)}
    frames = [("A", i) for i in range(len(psnr))]
    return ModelScores(
        name, name, "tiny", name, "0", name, frames, {"posterior": columns, "fitted": columns},
        provenance={"capture": capture, "capture_name": f"dome {capture}"},
    )  # fmt: skip


def marked(*columns):
    """Models of these PSNRs whose rows of the table carry an asterisk at it."""
    models = [scores(name, psnr) for name, psnr in zip("abc", columns, strict=False)]
    lines = Evaluation(models, "held-out", "frontal", {}, "", {}).table().splitlines()
    rows = {name: next(line for line in lines if line.startswith(name)) for name in "abc"[: len(models)]}
    return {
        name for name, model in zip(rows, models, strict=True) if f"{model.mean('fitted', 'psnr'):.2f}*" in rows[name]
    }


def test_the_table_marks_the_best_alone_where_every_frame_says_so():
    assert marked([30.0, 31.0, 32.0], [31.0, 32.1, 32.9], [20.0, 20.0, 20.0]) == {"b"}


def test_the_table_marks_what_its_frames_do_not_tell_apart_from_the_best():
    assert marked([30.0, 31.0], [35.0, 27.0]) == {"a", "b"}


def test_the_table_marks_models_that_print_the_same_figure():
    assert marked([30.0, 30.0], [30.001, 30.001]) == {"a", "b"}


def test_one_frame_tells_no_spread_so_that_the_best_alone_is_marked():
    assert marked([30.0], [30.1]) == {"b"}


def test_the_table_says_what_its_marks_mean():
    table = Evaluation((scores("a", [30.0]), scores("b", [31.0])), "held-out", "frontal", {}, "", {}).table()
    assert "* among the same kind of code the best of the models, or within two standard errors of it" in table


def test_a_difference_is_paired_over_the_frames_that_both_models_have():
    one, other = scores("a", [30.0, 31.0, math.nan, 20.0]), scores("b", [31.0, 33.0, 40.0])
    difference = Evaluation((one, other), "held-out", "frontal", {}, "", {}).to_best(one, "fitted", "psnr")
    assert (difference.mean, difference.error) == (-1.5, 0.5)
    assert str(difference) == "-1.50 ± 0.50" and difference.told_apart


def test_models_of_different_captures_do_not_compete():
    models = (scores("a", [30.0], "p01"), scores("b", [35.0], "p02"))
    table = Evaluation(models, "held-out", "frontal", {}, "", {}).table()
    assert "*" not in table
    assert table.splitlines()[-1].startswith("warning: the models were scored on different captures (a on dome p01, b")


def test_one_model_has_no_stars_and_no_line_on_them():
    assert "*" not in Evaluation((scores("a", [30.0]),), "held-out", "frontal", {}, "", {}).table()


def test_frames_that_could_not_be_scored_are_null_and_do_not_count():
    model = scores("a", [30.0, math.nan, math.inf])
    assert model.mean("posterior", "psnr") == 30.0
    data = json.loads(json.dumps(model.as_data(), allow_nan=False))
    assert data["scores"]["posterior"]["psnr"] == [30.0, None, None]
    assert math.isnan(ModelScores.from_data(data).scores["posterior"]["psnr"][1])
