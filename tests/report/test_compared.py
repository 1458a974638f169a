"""What a report says of models that can or can't be compared, and that its curves show all values."""

from __future__ import annotations

import json

import pytest
from lipflow_report.charts import training_chart
from lipflow_report.page import write_report

pytest.importorskip("altair")
pytest.importorskip("vl_convert")


def test_the_heading_names_the_capture(evaluation_folder, tmp_path):
    text = write_report(evaluation_folder, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h1>Evaluation: dam, lip-flow on dome-1</h1>" in text


def test_models_of_different_captures_are_warned_of_and_none_is_best(evaluation_folder, tmp_path):
    data = json.loads((evaluation_folder / "evaluation.json").read_text(encoding="utf-8"))
    data["models"][1]["provenance"] |= {"capture": "dome-2", "capture_name": "dome p02"}
    (tmp_path / "evaluation.json").write_text(json.dumps(data), encoding="utf-8")
    text = write_report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "scored on different captures (dam on dome-1, lip-flow on dome p02)" in text
    assert 'class="best"' not in text and "In bold" not in text and 'class="error"' not in text


def test_models_that_are_not_told_apart_share_the_bold(evaluation_folder, tmp_path):
    data = json.loads((evaluation_folder / "evaluation.json").read_text(encoding="utf-8"))
    data["models"][1]["scores"]["fitted"]["psnr"] = [28.0, 34.0]
    (tmp_path / "evaluation.json").write_text(json.dumps(data), encoding="utf-8")
    text = write_report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'class="best">31.00<span class="error"> best</span></td>' in text
    assert 'class="best">30.50<span class="error"> ± 31.77</span></td>' in text
    assert "Wide intervals: with 2 sequences the interval reaches 12.7 standard errors to each side" in text


def test_nothing_is_bold_where_all_frames_are_of_one_sequence(evaluation_folder, tmp_path):
    data = json.loads((evaluation_folder / "evaluation.json").read_text(encoding="utf-8"))
    for model in data["models"]:
        model["frames"] = [["EXP_smile", 3], ["EXP_smile", 4]]
    (tmp_path / "evaluation.json").write_text(json.dumps(data), encoding="utf-8")
    text = write_report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'class="best"' not in text and "No asterisk anywhere: both models have scores of 1 sequence only" in text


@pytest.mark.parametrize("values", [[9.0, 0.1, 0.05], [2.0, 1.5, 1.2], [1.0, 1.0], [0.0, -3.0]])
def test_training_curves_hold_every_value(values):
    rows = [{"kind": "held-out", "step": step, "loss": value} for step, value in enumerate(values)]
    low, high = training_chart({"dam": rows})["concat"][0]["encoding"]["y"]["scale"]["domain"]
    assert low < min(values) and max(values) < high
