"""A run's folder that somebody else may have made: nothing outside of it is written."""

import os

import pytest
import torch

from lipflow_core.errors import StorageError
from lipflow_core.training.checkpoints import Checkpoints
from lipflow_core.training.run_directory import Metrics, RunDirectory
from lipflow_core.training.state import RunState, StageSummary, TrainingSummary


@pytest.fixture
def run(tmp_path):
    """The folder of a run, beside a file that no run may change."""
    (tmp_path / "run").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine").write_text("mine")
    yield tmp_path / "run"
    assert os.listdir(tmp_path / "outside") == ["mine"]
    assert (tmp_path / "outside" / "mine").read_text() == "mine"


def test_checkpoints_that_are_a_link_are_refused(run):
    (run / "checkpoints").symlink_to("../outside")
    with pytest.raises(StorageError, match="checkpoints is a link"):
        RunDirectory(run).open({"seed": 0})


def test_metrics_that_are_a_link_are_refused(run):
    (run / "metrics.jsonl").symlink_to("../outside/mine")
    with pytest.raises(StorageError, match=r"metrics\.jsonl is a link"):
        Metrics(run / "metrics.jsonl", 0)


def test_results_replace_links(run):
    for name in ("run.json", "result.json"):
        (run / name).symlink_to("../outside/new")
    directory = RunDirectory(run)
    directory.open({"seed": 0})
    stage = StageSummary(name="all", steps=1, best_step=1, held_out=2.0, stopped_early=False, skipped=0)
    directory.finish(TrainingSummary(name="dam", version="0", stages=(stage,), steps=1, seconds=1.0))
    assert directory.result().seconds == 1.0
    assert not (run / "run.json").is_symlink() and not (run / "result.json").is_symlink()


def test_checkpoints_replace_links(run):
    checkpoints = Checkpoints(run / "checkpoints")
    checkpoints.folder.mkdir()
    (checkpoints.folder / "step-00000000.safetensors").symlink_to("../../outside/mine")
    path = checkpoints.save(RunState(), {"model/weight": torch.ones(2)})
    assert not path.is_symlink()


def test_a_disk_that_is_full_at_the_last_flush_of_the_metrics_is_told(run):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no device that is always full")
    metrics = Metrics(run / "metrics.jsonl", 0)
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), metrics._file.fileno())
    with pytest.raises(StorageError, match=r"metrics\.jsonl: can't be written: No space left"):
        metrics.write({"kind": "train"})
    with pytest.raises(StorageError, match="No space left"):
        metrics.close()
