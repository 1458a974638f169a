"""Several processes come to what one process with all their frames comes to."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from runs import make_spec, rows, weights

from lipflow_core.training import train

HERE = Path(__file__).parent
OPTIONS = ("training.stages.0.steps=6", "training.evaluate_every=3", "training.evaluate_frames=5")


def test_two_processes_equal_one_with_twice_the_batch(tmp_path):
    alone = train(make_spec("dam", *OPTIONS, "training.batch=4"), tmp_path / "one")
    command = [sys.executable, "-W", "error", HERE / "train_on_ranks.py", tmp_path / "two", *OPTIONS]
    done = subprocess.run(
        [*command, "training.batch=2", "training.devices=2"],
        env={**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    together = weights(tmp_path / "two")
    for name, tensor in weights(alone.path).items():
        torch.testing.assert_close(
            together[name], tensor, rtol=1e-3, atol=1e-4, msg=lambda text, n=name: f"{n}: {text}"
        )
    for kind in ("train", "held-out"):
        for one, two in zip(rows(tmp_path / "one", kind), rows(tmp_path / "two", kind), strict=True):
            assert two["step"] == one["step"]
            assert abs(two["loss"] - one["loss"]) < 1e-3 * one["loss"]
