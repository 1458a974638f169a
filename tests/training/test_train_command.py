"""`lipflow-core train`."""

import json
import subprocess
import sys

import pytest

from lipflow_core.cli import main

SMALL = ("preset=tiny", "capture=globe", "renderer=cpu", "training.threads=1", "device=cpu")


def test_it_trains_resumes_and_reports(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["train", "dam", *SMALL, "--out", out]) == 0
    told = capsys.readouterr()
    assert "stage all: held-out loss" in told.out and out in told.out
    assert "train dam: 8/8 steps" in told.err
    assert main(["train", "dam", *SMALL, "--out", out]) == 8
    assert "--resume" in capsys.readouterr().err
    assert main(["train", "dam", *SMALL, "--out", out, "--resume", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["steps"] == 8
    assert told.err == ""
    assert main(["train", "dam", *SMALL, "training.batch=2", "--out", out, "--resume"]) == 7
    assert "spec.training.batch was 4, is 2" in capsys.readouterr().err


@pytest.mark.parametrize("quiet", [["--quiet"], []])
def test_quiet_shows_no_progress(quiet, tmp_path, capsys):
    assert main(["train", "dam", *SMALL, "--out", str(tmp_path / "run"), *quiet]) == 0
    assert bool(capsys.readouterr().err) is not bool(quiet)


def test_an_unwritable_folder_is_one_message(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", "dam", *SMALL, "--out", str(tmp_path / "file" / "run")]) == 8
    assert "file" in capsys.readouterr().err


def test_its_help_imports_no_torch():
    code = "import sys, lipflow_core.cli.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
