"""What the mutants are made of: a capture of six frames, its pack, models, fits and an evaluation."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lipflow_core.cli import main

SIZES = ("sequences=2", "held_out_sequences=1", "frames_per_sequence=2", "cameras=2", "image=[16,16]", "texture=16")
"""Options of a simulated capture that is read in milliseconds."""


@dataclass(frozen=True)
class Materials:
    """Unchanged folders, all below `root`."""

    root: Path

    def __getattr__(self, name: str) -> Path:
        return self.root / name

    @property
    def reading(self) -> str:
        """The override that makes a spec read the capture."""
        return f"capture={{type: multiface, path: {self.capture}, image: 16, texture: 16, cache: {self.packs}}}"


def make(root: Path) -> Materials:
    """Make the materials, or keep those that are there."""
    made = Materials(root)
    if (root / "ready").exists():
        _import_all(made)
        return made
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    _run("capture", "simulate", "--preset", "tiny", "--workers", "1", *SIZES, "--out", made.capture)
    _run("capture", "pack", made.capture, "--preset", "tiny", "--workers", "1", "--out", made.pack)
    few = ("preset=tiny", "training.stages.0.steps=2", "training.checkpoint_every=1", "fitting.steps=2")
    for model in ("lip-flow-hmc", "dam"):
        _run("train", model, *few, made.reading, "--out", root / model)
    shutil.copytree(root / "dam", made.stopped)
    for name in ("result.json", "lock.json", "weights.safetensors", "checkpoints/step-00000002.safetensors"):
        (made.stopped / name).unlink()
    _run("fit", root / "dam", "--frames", "0", "--out", made.fit)
    _run("fit", root / "dam", "--frames", "0", "fitting.grid={learning_rate: [0.1, 0.01]}", "--out", made.grid)
    _run("evaluate", root / "dam", "--count", "1", "fitting.grid={}", "--out", made.evaluation)
    (root / "ready").touch()
    _import_all(made)
    return made


def _import_all(made: Materials) -> None:
    """Let this process import and compile what commands need, so that no mutant is interrupted in it."""
    with tempfile.TemporaryDirectory() as place:
        _run("train", "dam", "preset=tiny", made.reading, "training.stages.0.steps=1", "--out", f"{place}/run")
        _run("evaluate", made.root / "lip-flow-hmc", "--count", "1", "fitting.grid={}", "--out", f"{place}/evaluation")
        _run("sample", made.root / "dam", "--out", f"{place}/samples")
        _run("report", made.evaluation, "--out", f"{place}/report.html")
        _run("capture", "pack", made.capture, "--preset", "tiny", "--workers", "1", "--out", f"{place}/pack")
        _run("capture", "validate", made.capture, "--deep")
        _run("capture", "overlay", made.capture, "--frames", "0", "--out", f"{place}/overlay.png")


def _run(*arguments: object) -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main([str(argument) for argument in arguments])
    if code:
        raise RuntimeError(f"{arguments} ended with {code}: {output.getvalue()}")
