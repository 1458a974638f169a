"""Evaluating trained models: what is scored, written, resumed and printed."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import lipflow_core
from lipflow_core.claiming import claimed
from lipflow_core.cli import main
from lipflow_core.errors import LipflowError, ModelError, ResultError, SpecError, StorageError, UsageError
from lipflow_core.evaluation.folder import read_evaluation
from lipflow_core.evaluation.result import CODES, Column, Evaluation, ModelScores

OPTIONS = ["fitting.steps=3"]
METRICS = {
    "psnr": Column(heading="PSNR", unit="dB", digits=2, higher_is_better=True),
    "error": Column(heading="Error", digits=3, higher_is_better=False),
}


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
            assert list(metrics) == list(model.metrics) == ["psnr", "ssim", "geom", "millimetres"]
            assert all(len(values) == 4 and all(map(math.isfinite, values)) for values in metrics.values())


def test_the_files_say_what_the_result_says(evaluated):
    evaluation, out = evaluated
    assert read_evaluation(out) == evaluation
    model = evaluation.models[1]
    fits = load_file(out / model.folder / "fits.safetensors")
    assert fits["fitted.codes"].shape == fits["fitted.starts"].shape == (4, 8)
    assert fits["fitted.curves.total"].shape == (4, 4)


def test_the_csv_has_a_row_for_each_model_frame_code_and_metric(evaluated):
    evaluation, out = evaluated
    with open(out / "scores.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for model in evaluation.models:
        assert len([row for row in rows if row["model"] == model.name and row["metric"] == "psnr"]) == 4 * len(CODES)
    model = evaluation.models[1]
    found = [row for row in rows if (row["model"], row["code"], row["metric"]) == (model.name, "fitted", "psnr")]
    assert [(row["segment"], int(row["frame"])) for row in found] == list(model.frames)
    assert tuple(float(row["value"]) for row in found) == model.scores["fitted"]["psnr"]
    options = {name: found[0][name] for name in ("preset", "seed", "prior", "driving", "flow", "overrides", "unit")}
    assert options == {
        "preset": "tiny", "seed": "0", "prior": "flow", "driving": "hmc", "flow": "glow",
        "overrides": "fitting.steps=3", "unit": "dB",
    }  # fmt: skip
    assert {row["metric"] for row in rows} == {*model.metrics, "distance", "steps", "nll"}


def test_results_say_how_models_differ_and_how_metrics_are_shown(evaluated):
    _, out = evaluated
    model = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["models"][1]
    assert (model["seed"], model["prior"], model["driving"], model["overrides"]) == (0, "flow", "hmc", OPTIONS)
    shown = model["metrics"]["psnr"]
    assert (shown["heading"], shown["unit"], shown["digits"], shown["higher_is_better"]) == ("PSNR", "dB", 2, True)
    assert "10 log10(1 / e)" in shown["definition"]


def test_metrics_are_those_of_the_spec_in_its_order(trained):
    options = [*OPTIONS, "evaluation.metrics=[keypoint-error, {type: psnr}, psnr]"]
    evaluation = lipflow_core.evaluate(trained["dam"], count=1, overrides=options)
    assert list(evaluation.metrics) == ["keypoint-error", "psnr", "psnr#2"]
    heads = re.split(" {2,}", evaluation.table().splitlines()[0])
    assert heads[2:] == ["Keypoints ↓", "PSNR ↑", "PSNR #2 ↑", "travelled"]


def test_models_that_are_scored_otherwise_are_refused(trained, tmp_path):
    avatar, spec = lipflow_core.open_model(trained["dam"], overrides=["evaluation.metrics=[psnr]"])
    with pytest.raises(SpecError, match=r"scored by psnr, ssim, geom, millimetres, model 'dam' by psnr, so that"):
        lipflow_core.evaluate([trained["dam"], (avatar, spec)], out=tmp_path / "out")
    avatar, spec = lipflow_core.open_model(trained["dam"], overrides=["evaluation.view=dome"])
    with pytest.raises(SpecError, match=r"scored on view 'frontal', model 'dam' on 'dome', so that"):
        lipflow_core.evaluate([trained["dam"], (avatar, spec)], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_is_the_same_by_folder_opened_or_as_an_avatar(trained, tmp_path):
    opened = lipflow_core.open_model(trained["dam"])
    ways = [trained["dam"], str(trained["dam"]), opened, (opened.avatar, opened.spec), [(opened.avatar, opened.spec)]]
    identities = {lipflow_core.evaluate(way, count=1, overrides="fitting.steps=1").models[0].identity for way in ways}
    assert len(identities) == 1


def test_the_folder_of_an_avatar_has_its_spec(trained, tmp_path):
    lipflow_core.evaluate(lipflow_core.open_model(trained["dam"]), count=1, overrides=OPTIONS, out=tmp_path)
    assert lipflow_core.load_spec(tmp_path / "dam" / "spec.yaml").fitting.steps == 3


def test_an_avatar_that_was_changed_is_run_again(trained, tmp_path):
    avatar, spec = lipflow_core.open_model(trained["dam"])
    first = lipflow_core.evaluate((avatar, spec), count=1, overrides=OPTIONS, out=tmp_path)
    with torch.no_grad():
        next(avatar.decoder.parameters()).mul_(2)
    second = lipflow_core.evaluate((avatar, spec), count=1, overrides=OPTIONS, out=tmp_path)
    assert first.models[0].identity != second.models[0].identity


def test_a_models_folder_is_copied_without_its_links(trained, tmp_path):
    shutil.copytree(trained["dam"], tmp_path / "model")
    (tmp_path / "private").write_text("secret")
    (tmp_path / "model" / "metrics.jsonl").unlink()
    (tmp_path / "model" / "metrics.jsonl").symlink_to(tmp_path / "private")
    lipflow_core.evaluate(tmp_path / "model", count=1, overrides=OPTIONS, out=tmp_path / "out")
    assert "lock.json" in os.listdir(tmp_path / "out" / "dam")
    assert "metrics.jsonl" not in os.listdir(tmp_path / "out" / "dam")


@pytest.mark.parametrize("name", ["run:1", "evaluation.json", "scores.csv", ".lock"])
def test_models_whose_folders_have_names_that_an_evaluation_can_not_use_are_numbered(name, trained, tmp_path):
    shutil.copytree(trained["dam"], tmp_path / name)
    models = [trained["dam"], tmp_path / name]
    evaluation = lipflow_core.evaluate(models, count=1, overrides=OPTIONS, out=tmp_path / "out")
    assert [model.name for model in evaluation.models] == ["dam-1", "dam-2"]


def test_evaluating_leaves_an_avatar_in_its_mode(trained):
    avatar, spec = lipflow_core.open_model(trained["dam"])
    avatar.train()
    lipflow_core.evaluate((avatar, spec), count=1, overrides=OPTIONS)
    assert all(module.training for module in avatar.modules())


def test_an_avatar_needs_its_spec_and_keeps_its_parts(trained):
    opened = lipflow_core.open_model(trained["dam"])
    with pytest.raises(TypeError, match=r"pairs \(avatar, spec\), got Avatar"):
        lipflow_core.evaluate(opened.avatar)
    with pytest.raises(SpecError, match="'renderer' can't be changed of an avatar"):
        lipflow_core.evaluate(opened, overrides=["renderer=torch"])
    with pytest.raises(UsageError, match="no model given"):
        lipflow_core.evaluate([])


def test_a_part_of_ones_own_is_evaluated_in_an_avatar(trained):
    class Darker(type(lipflow_core.open_model(trained["dam"]).avatar.renderer)):
        def render(self, *given, **named):
            made = super().render(*given, **named)
            return replace(made, image=0.5 * made.image)

    avatar, spec = lipflow_core.open_model(trained["dam"])
    whole = lipflow_core.evaluate((avatar, spec), count=1, overrides=OPTIONS).models[0]
    avatar.renderer = Darker(avatar.renderer.config, avatar.renderer.given)
    dark = lipflow_core.evaluate((avatar, spec), count=1, overrides=OPTIONS).models[0]
    assert dark.identity != whole.identity
    assert dark.mean("posterior", "psnr") < whole.mean("posterior", "psnr") - 3


def test_frames_are_named_as_for_a_fit(trained, capsys):
    arguments = ["evaluate", str(trained["dam"]), "fitting.steps=1", "--frames", "EXP_ROM_0001,0", "--json"]
    assert main(arguments) == 0
    frames = json.loads(capsys.readouterr().out)["models"][0]["frames"]
    assert [segment for segment, _ in frames] == ["EXP_ROM_0001"] * (len(frames) - 1) + ["EXP_free_face_0000"]


def test_samples_are_driven_by_one_frame(trained, tmp_path, capsys):
    assert main(["sample", str(trained["dam"]), "--frame", "0:2", "--out", str(tmp_path / "out")]) == 2
    assert "'0:2' names 2 frames, but one frame drives" in capsys.readouterr().err


def test_pictures_are_kept_of_as_many_frames_as_the_report_shows(evaluated):
    _, out = evaluated
    for kind in ("target", "mask", "posterior", "start", "fitted", "seen-headset"):
        assert len(list((out / "lip-flow-hmc" / "pictures").glob(f"*.{kind}.png"))) == 2


def test_a_model_that_is_done_is_not_run_again(evaluated, trained, capsys):
    evaluation, out = evaluated
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")}
    again = lipflow_core.evaluate(trained.values(), out=out, overrides=OPTIONS, without_likelihood=True)
    assert again.models == evaluation.models
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")} == before


def test_other_options_run_a_model_again(trained, tmp_path):
    dam = [trained["dam"]]
    first = lipflow_core.evaluate(dam, out=tmp_path, count=2, overrides=["fitting.steps=1"])
    second = lipflow_core.evaluate(dam, out=tmp_path, count=2, overrides=["fitting.steps=2"])
    assert first.models[0].identity != second.models[0].identity
    assert read_evaluation(tmp_path).models[0].identity == second.models[0].identity


def test_a_damaged_result_is_made_again(trained, tmp_path):
    dam = [trained["dam"]]
    lipflow_core.evaluate(dam, out=tmp_path, count=2, overrides=["fitting.steps=1"])
    (tmp_path / "dam" / "result.json").write_text("{", encoding="utf-8")
    lipflow_core.evaluate(dam, out=tmp_path, count=2, overrides=["fitting.steps=1"])
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
    assert math.isfinite(data["models"][0]["means"]["fitted"]["psnr"])


def test_a_model_whose_path_has_an_equals_sign_is_no_override(trained, tmp_path, capsys):
    (tmp_path / "lr=0.1").symlink_to(trained["dam"], target_is_directory=True)
    arguments = ["evaluate", str(tmp_path / "lr=0.1"), "fitting.steps=1", "--count", "1", "--quiet"]
    assert main(arguments) == 0
    assert "dam" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evaluate", "fitting.steps=1"], "no model given"),
        (["evaluate", "m", "--count", "0"], "0 frames can't be scored"),
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


def test_a_folder_that_another_process_evaluates_into_is_refused(trained, tmp_path):
    with claimed(tmp_path, "evaluating"), pytest.raises(StorageError, match="another process is evaluating there"):
        lipflow_core.evaluate(trained["dam"], count=1, overrides=OPTIONS, out=tmp_path)


def test_what_a_killed_evaluation_left_is_removed(trained, tmp_path):
    temporary = tmp_path / ".dam.0123abcd.tmp"
    (temporary / "pictures").mkdir(parents=True)
    (temporary / "result.json").write_text("{", encoding="utf-8")
    lipflow_core.evaluate(trained["dam"], count=1, overrides=OPTIONS, out=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dam", "evaluation.json", "scores.csv"]


def test_what_a_killed_evaluation_was_about_to_replace_takes_its_place_again(trained, tmp_path):
    first = lipflow_core.evaluate(trained["dam"], count=1, overrides=OPTIONS, out=tmp_path)
    before = (tmp_path / "dam" / "result.json").stat().st_mtime_ns
    (tmp_path / "dam").rename(tmp_path / ".dam.0123abcd.old")
    again = lipflow_core.evaluate(trained["dam"], count=1, overrides=OPTIONS, out=tmp_path)
    assert again.models[0].json_text() == first.models[0].json_text()
    assert (tmp_path / "dam" / "result.json").stat().st_mtime_ns == before


DAMAGE = {
    "cut": lambda data: json.dumps(data)[:200],
    "deep": lambda data: "[" * 100_000,
    "no object": lambda data: "[]",
    "another format": lambda data: json.dumps({**data, "format": 1}),
    "a column too short": lambda data: json.dumps({**data, "models": [spoilt(data, "frames", [])]}),
    "an unknown code": lambda data: json.dumps({**data, "models": [spoilt(data, "nonfinite", {"other": 1})]}),
    "a metric missing": lambda data: json.dumps({**data, "models": [spoilt(data, "metrics", {})]}),
    "text for a number": lambda data: json.dumps({**data, "models": [spoilt(data, "seconds", "long")]}),
    "another folder": lambda data: json.dumps({**data, "models": [spoilt(data, "folder", "../elsewhere")]}),
}


def spoilt(data, name, value):
    return {**data["models"][0], name: value}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_evaluation_is_told_with_its_place(damage, evaluated, tmp_path):
    data = json.loads((evaluated[1] / "evaluation.json").read_text(encoding="utf-8"))
    (tmp_path / "evaluation.json").write_text(DAMAGE[damage](data), encoding="utf-8")
    with pytest.raises(ResultError, match=r"evaluation\.json: is damaged: .+\n +Run lipflow-core evaluate again"):
        read_evaluation(tmp_path)


def scores(name, psnr, capture="c", sequences="ABCDEFGH"):
    """Scores of frames each of its own sequence, if the names of the sequences are not given."""
    columns = {"psnr": psnr, "error": [0.1] * len(psnr)}
    return ModelScores(
        name=name, system=name, preset="tiny", model=name, identity="0", folder=name, metrics=METRICS,
        frames=[(sequences[i], i) for i in range(len(psnr))], scores={"posterior": columns, "fitted": columns},
        provenance={"capture": capture, "capture_name": f"dome {capture}"},
    )  # fmt: skip


def evaluation_of(*models):
    return Evaluation(split="held-out", view="frontal", models=models)


def marked(*columns):
    """Models of these PSNRs whose rows of the table carry an asterisk at it."""
    models = [scores(name, psnr) for name, psnr in zip("abc", columns, strict=False)]
    lines = evaluation_of(*models).table().splitlines()
    rows = {name: next(line for line in lines if line.startswith(name)) for name in "abc"[: len(models)]}
    return {
        name for name, model in zip(rows, models, strict=True) if f"{model.mean('fitted', 'psnr'):.2f}*" in rows[name]
    }


def test_the_table_marks_the_best_alone_where_every_frame_says_so():
    assert marked([30.0, 31.0, 32.0], [31.0, 32.1, 32.9], [20.0, 20.0, 20.0]) == {"b"}


def test_the_table_marks_what_is_not_shown_to_be_worse_than_the_best():
    assert marked([30.0, 31.0], [35.0, 27.0]) == {"a", "b"}


def test_the_table_marks_models_that_print_the_same_figure():
    assert marked([30.0, 30.0], [30.001, 30.001]) == {"a", "b"}


def test_frames_of_one_sequence_do_not_tell_which_model_is_best_and_the_table_says_so():
    one, other = (scores(name, psnr, sequences="AAAA") for name, psnr in (("a", [30.0] * 4), ("b", [31.0, 32.0] * 2)))
    head, *rest = evaluation_of(one, other).table().split("\n* ")
    assert "*" not in head
    assert "no asterisk anywhere: both models have scores of 1 sequence only" in rest[0]


def test_few_sequences_are_told_below_the_table_with_the_width_of_their_intervals():
    evaluation = evaluation_of(scores("a", [30.0, 31.0, 33.0]), scores("b", [31.0, 33.0, 30.0]))
    assert evaluation.cautions() == [
        "wide intervals: with 3 sequences the interval reaches 4.3 standard errors to each side; score frames of more "
        "sequences, since more frames of the same ones hardly help"
    ]


def test_a_metric_of_too_few_sequences_is_named_below_the_table():
    one, other = scores("a", [30.0] * 6), scores("b", [31.0] * 6)
    other.scores["fitted"]["error"] = (0.2, *[math.nan] * 5)
    (caution,) = evaluation_of(one, other).cautions()
    assert caution.startswith("no asterisk for Error after fitting: both models have scores of 1 sequence only")


def test_many_frames_of_few_sequences_do_not_tell_models_apart():
    apart = [0.1, 0.2, 0.1, 0.2, 1.0, 1.1, 1.0, 1.1]
    one, other = scores("a", [30.0] * 8), scores("b", [30 + d for d in apart])
    assert evaluation_of(one, other).to_best(one, "fitted", "psnr").told_apart
    one, other = (
        scores("a", [30.0] * 8, sequences="AAAABBBB"),
        scores("b", other.scores["fitted"]["psnr"], sequences="AAAABBBB"),
    )
    assert not evaluation_of(one, other).to_best(one, "fitted", "psnr").told_apart


def test_the_table_says_what_its_marks_mean():
    table = evaluation_of(scores("a", [30.0]), scores("b", [31.0])).table()
    assert "* among the same kind of code the best of the models, and those that are not shown to be worse" in table


def test_the_json_has_each_difference_to_the_best_with_interval_and_sequences():
    evaluation = evaluation_of(scores("a", [30.0, 31.0, 33.0]), scores("b", [31.0, 33.0, 35.0]))
    found = json.loads(evaluation.json_text())["differences"]
    assert [(one["code"], one["metric"], one["model"], one["best"]) for one in found] == [
        (code, metric, model, best)
        for code in ("posterior", "fitted")
        for metric, model, best in (("psnr", "a", "b"), ("error", "b", "a"))
    ]
    assert (found[0]["frames"], found[0]["sequences"], found[0]["left_out"]) == (3, 3, 0)
    assert found[0]["mean"] == pytest.approx(-5 / 3)
    assert found[0]["low"] < found[0]["mean"] < found[0]["high"] < 0
    assert Evaluation.model_validate_json(evaluation.json_text()) == evaluation


def test_a_difference_is_paired_over_the_frames_that_both_models_have():
    one, other = scores("a", [30.0, 31.0, math.nan, 20.0]), scores("b", [31.0, 33.0, 40.0])
    difference = evaluation_of(one, other).to_best(one, "fitted", "psnr")
    assert (difference.mean, difference.error) == (-1.5, 0.5)
    assert (difference.frames, difference.left_out, difference.sequences) == (2, 1, 2)
    assert str(difference) == "-1.50 ± 6.35" and not difference.told_apart


def test_models_of_different_captures_do_not_compete():
    models = (scores("a", [30.0], "p01"), scores("b", [35.0], "p02"))
    table = evaluation_of(*models).table()
    assert "*" not in table
    assert table.splitlines()[-1].startswith("warning: the models were scored on different captures (a on dome p01, b")


def test_a_notebook_shows_the_table_with_names_escaped():
    shown = evaluation_of(scores("<b>a", [30.0]))._repr_html_()
    assert shown.startswith("<pre>") and "&lt;b&gt;a" in shown and "30.00" in shown
    assert "<b>" not in shown


def test_one_model_has_no_stars_and_no_line_on_them():
    assert "*" not in evaluation_of(scores("a", [30.0])).table()


def test_frames_that_could_not_be_scored_are_null_and_do_not_count():
    model = scores("a", [30.0, math.nan, math.inf])
    assert model.mean("posterior", "psnr") == 30.0
    data = json.loads(model.json_text())
    assert data["scores"]["posterior"]["psnr"] == [30.0, None, None]
    assert math.isnan(ModelScores.model_validate(data).scores["posterior"]["psnr"][1])


def test_the_best_of_a_metric_is_the_lowest_where_lower_is_better():
    one, other = scores("a", [30.0, 30.0]), scores("b", [31.0, 31.0])
    other.scores["fitted"]["error"] = (0.2, 0.3)
    assert evaluation_of(one, other).best("fitted", "error") is one
