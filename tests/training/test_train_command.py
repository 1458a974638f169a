"""`lipflow-core train`."""

import json
import os
import subprocess
import sys

import pytest
from runs import make_spec, rows

from lipflow_core.cli import main
from lipflow_core.errors import StorageError
from lipflow_core.plans import CaptureInputs
from lipflow_core.training import train

SMALL = ("preset=tiny", "capture=globe", "renderer=cpu", "training.threads=1", "device=cpu")


def test_it_trains_resumes_and_reports(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["train", "dam", *SMALL, "--out", out]) == 0
    told = capsys.readouterr()
    assert "stage all: held-out loss" in told.out and out in told.out
    assert "train dam: 8/8 steps" in told.err
    # The last line tells of the last step, however long ago the line before it was.
    assert f"loss {rows(tmp_path / 'run')[-1]['loss']:.4g}  held-out " in told.err.splitlines()[-1]
    assert main(["train", "dam", *SMALL, "--out", out]) == 8
    told = capsys.readouterr().err
    assert "--resume" in told and "train dam" not in told
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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_message(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["train", "dam", *SMALL, "--out", str(tmp_path / "run")]) == 8
    assert "not yours to write to" in capsys.readouterr().err


def test_an_unwritable_folder_is_told_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    spec = make_spec("dam")
    capture = spec.capture.build(CaptureInputs())
    monkeypatch.setattr(capture, "template", lambda: pytest.fail("the capture was made first"))
    with pytest.raises(StorageError, match="can't be written"):
        train(spec, tmp_path / "file" / "run", capture=capture)


def test_nan_in_a_picture_ends_with_code_6_and_nothing_half_written(tmp_path, capsys):
    out = ["--out", str(tmp_path / "run")]
    assert main(["train", "lip-flow-hmc", *SMALL, "capture.broken=5", *out]) == 6
    assert "frame 5: Views.images of observation 'headset' holds NaN" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main(["train", "lip-flow-hmc", *SMALL, *out, "--quiet"]) == 0


@pytest.mark.parametrize("seed", ["seed=9223372036854775808", "seed=-1"])
def test_a_seed_that_no_generator_takes_ends_with_code_3(seed, tmp_path, capsys):
    assert main(["train", "dam", *SMALL, seed, "--out", str(tmp_path / "run")]) == 3
    assert "seed: should be" in capsys.readouterr().err


def test_its_help_imports_no_torch():
    code = "import sys, lipflow_core.cli.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
