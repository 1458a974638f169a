"""Captures with NaN, with empty masks or without frames."""

from __future__ import annotations

import json

import pytest

import lipflow_core
from lipflow_core.cli import main
from lipflow_core.errors import CaptureError

OPTIONS = ["fitting.steps=1", "--split", "held-out"]
HIDDEN = "capture={type: spoiled, hidden: headset}"
PICTURES_ALONE = "fitting.objectives=[{type: photometric, target: headset}]"

pytestmark = pytest.mark.usefixtures("spoiled")


@pytest.mark.parametrize("observation", ["headset", "frontal", "face"])
def test_nan_in_what_is_fitted_or_scored_ends_an_evaluation(observation, trained, tmp_path, capsys):
    out = tmp_path / "out"
    capture = f"capture={{type: spoiled, nan: {observation}}}"
    assert main(["evaluate", str(trained["dam"]), capture, *OPTIONS, "--out", str(out)]) == CaptureError.exit_code
    message = capsys.readouterr().err
    assert f"of observation '{observation}' holds NaN or infinity" in message
    assert "segment EXP" in message and ", frame " in message
    assert not out.exists()


def test_nan_in_a_fits_target_ends_it_and_leaves_nothing(trained, tmp_path, capsys):
    out = tmp_path / "out"
    capture = "capture={type: spoiled, nan: headset}"
    assert main(["fit", str(trained["dam"]), capture, *OPTIONS, "--out", str(out)]) == CaptureError.exit_code
    assert "images of observation 'headset' holds NaN" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("command", ["evaluate", "fit", "sample"])
def test_a_split_without_frames_is_told_before_anything_is_written(command, trained, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [command, str(trained["dam"]), "capture={type: spoiled, empty: true}", "--out", str(out)]
    assert main(arguments) == CaptureError.exit_code
    assert "split 'held-out' of the capture has no frames" in capsys.readouterr().err
    assert not out.exists()


def test_a_frame_that_shows_nothing_has_no_loss_and_is_told(trained, tmp_path, capsys):
    arguments = ["fit", str(trained["dam"]), HIDDEN, PICTURES_ALONE, *OPTIONS, "--quiet", "--out", str(tmp_path)]
    assert main(arguments) == 0
    *others, last = json.loads((tmp_path / "fit.json").read_text(encoding="utf-8"))["frames"]
    assert (last["shows_nothing"], last["loss"]) == (True, None)
    assert all(frame["loss"] is not None for frame in others)
    told = "1 frame showed nothing to fit to, as with an empty mask: the prior alone decided (the first is EXP"
    assert told in capsys.readouterr().out


def test_frames_that_all_show_nothing_are_an_error(trained, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["fit", str(trained["dam"]), HIDDEN, PICTURES_ALONE, *OPTIONS, "--frames=-1:", "--out", str(out)]
    assert main(arguments) == CaptureError.exit_code
    assert "none of the frames shows anything to fit to; the first is segment EXP" in capsys.readouterr().err
    assert not out.exists()


def test_an_evaluation_tells_of_frames_that_show_nothing_to_fit_to(trained):
    evaluation = lipflow_core.evaluate(trained["dam"], overrides=[HIDDEN, "fitting.steps=1"])
    assert evaluation.models[0].unseen == {"fitted": 1}
    assert "dam, after fitting: 1 frame showed nothing to fit to, as with an empty mask" in evaluation.models[0].notes()


def test_an_evaluation_tells_of_frames_that_some_metric_has_no_value_for(trained):
    options = ["capture={type: spoiled, hidden: frontal}", "fitting.steps=1"]
    model = lipflow_core.evaluate(trained["dam"], overrides=options).models[0]
    data = json.loads(model.json_text())
    assert data["scores"]["fitted"]["psnr"][-1] is None and data["scores"]["fitted"]["geom"][-1] is not None
    notes = [note for note in model.notes() if "left out of" in note]
    assert [note.split(",")[0] for note in notes] == ["dam: 1 frame left out of PSNR", "dam: 1 frame left out of SSIM"]
