"""Runs on the globe: their specs, what they left behind, and runs in processes of their own that may be killed."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from globe import GlobeConfig
from globe_capture import make_film

import lipflow_core.assembly
import lipflow_core.model_directory
import lipflow_core.training
from lipflow_core.progress import Progress
from lipflow_core.specs import load_spec
from lipflow_core.specs.model import Spec
from lipflow_core.weights import weights_of

# What a run imports, so that the fork server has it and each child starts at once.
for module in (
    "lightning_fabric",
    "lipflow_dam.decoder",
    "lipflow_dam.encoder",
    "lipflow_glow.flow",
    "lipflow_keypoint.encoder",
    "lipflow_priors.flow",
    "lipflow_render.cpu",
    "lipflow_render.oracle",
):
    importlib.import_module(module)
make_film(GlobeConfig().frames, GlobeConfig().seed)

REGISTRY = "LIPFLOW_CORE_REGISTRY"


def make_spec(name: str | Mapping[str, Any], *overrides: str) -> Spec:
    """A spec at preset tiny on the globe."""
    fixed = ["preset=tiny", "capture=globe", "renderer=cpu", "training.threads=1", "device=cpu"]
    return load_spec(name, [*fixed, *overrides])


def dam_regressor(**training: Any) -> Mapping[str, Any]:
    """The paper's system (c): DAM, then a regressor from headset pictures against frozen Q and D."""
    return {
        "name": "dam-regressor",
        "capture": "globe",
        "encoder": "dam",
        "decoder": "dam",
        "driving": "hmc",
        "prior": {"type": "kl", "divergence": "likelihood"},
        "training": {
            "stages": [
                {"name": "dam", "train": ["encoder", "decoder"], "prior": "standard-normal"},
                {
                    "name": "regressor",
                    "train": ["driving"],
                    "objectives": [{"type": "divergence", "weight": 1}],
                },
            ],
            **training,
        },
        "fitting": {"objectives": [{"type": "photometric", "target": "headset"}]},
    }


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The weights of a finished run."""
    return safetensors.torch.load_file(run / "weights.safetensors")


def parameters(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of everything that a module would save."""
    return {name: tensor.detach().clone() for name, tensor in weights_of(module).items()}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def rows(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    """The rows of a kind in the run's metrics."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


class Notes(Progress):
    """Progress that keeps its notes."""

    def __init__(self):
        super().__init__(None, "train", "step", style="none")
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


class KilledAfter:
    """Ends its process by SIGKILL some time after a step, however fast the machine is.

    Args:
        step: Counted from where the process went on.
        seconds: After that step; meanwhile the run goes on.
    """

    def __init__(self, step: int, seconds: float):
        self.step = step
        self.seconds = seconds

    def __call__(self) -> bool:
        self.step -= 1
        if self.step == 0:
            # A thread that Python waits for: a run that ends before is killed none the less.
            threading.Timer(self.seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return False


def start(
    name: str | Mapping[str, Any], overrides: tuple[str, ...], out: Path, stop: KilledAfter | None = None
) -> multiprocessing.Process:
    """Start or resume a run in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["runs"])
    process = context.Process(target=_train, args=(name, overrides, out, os.environ[REGISTRY], stop))
    with pytest.MonkeyPatch.context() as patch:
        # The fork server of Python 3.11 finds this module only so.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        process.start()
    return process


def _train(
    name: str | Mapping[str, Any], overrides: tuple[str, ...], out: Path, registry: str, stop: KilledAfter | None
) -> None:
    os.environ[REGISTRY] = registry
    try:
        lipflow_core.training.train(make_spec(name, *overrides), out, resume=True, stop=stop)
    except lipflow_core.errors.LipflowError as error:
        print(error)
        raise SystemExit(error.exit_code) from error
