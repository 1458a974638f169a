"""Captures with NaN or without frames end every command with one message and the captures' exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from lipflow_core.cli import main
from lipflow_core.errors import CaptureError

OPTIONS = ["fitting.steps=1", "--split", "held-out"]


@pytest.fixture(autouse=True)
def spoiled(monkeypatch, tmp_path):
    registry = tmp_path / "registry.toml"
    registry.write_text(f'[plugins.spoiled]\npath = "{Path(__file__).with_name("spoiled.py")}"\n', encoding="utf-8")
    monkeypatch.setenv("LIPFLOW_CORE_REGISTRY", str(registry))


@pytest.mark.parametrize("observation", ["headset", "frontal", "face"])
def test_nan_in_what_is_fitted_or_scored_ends_an_evaluation(observation, trained, tmp_path, capsys):
    out = tmp_path / "out"
    capture = f"capture={{type: spoiled, nan: {observation}}}"
    assert main(["evaluate", str(trained["dam"]), capture, *OPTIONS, "--out", str(out)]) == CaptureError.exit_code
    message = capsys.readouterr().err
    assert f"of observation '{observation}' holds NaN or infinity" in message
    assert "segment EXP" in message and ", frame " in message
    assert not list(out.rglob("*.json"))


def test_nan_in_a_fits_target_ends_it(trained, tmp_path, capsys):
    capture = "capture={type: spoiled, nan: headset}"
    arguments = ["fit", str(trained["dam"]), capture, *OPTIONS, "--out", str(tmp_path / "out")]
    assert main(arguments) == CaptureError.exit_code
    assert "images of observation 'headset' holds NaN" in capsys.readouterr().err
    assert not (tmp_path / "out" / "fit.json").exists()


@pytest.mark.parametrize("command", ["evaluate", "fit", "sample"])
def test_a_split_without_frames_is_told_before_anything_is_written(command, trained, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [command, str(trained["dam"]), "capture={type: spoiled, empty: true}", "--out", str(out)]
    assert main(arguments) == CaptureError.exit_code
    assert "split 'held-out' of the capture has no frames" in capsys.readouterr().err
    assert not out.exists()
