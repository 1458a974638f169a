"""Q, P, F and D trained together, with what the codes, the flow and the gradients do on the way."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lipflow_glow.steps import ExplicitActNorm
from nflows.transforms import ActNorm
from torch import Tensor, nn

import lipflow_core
from lipflow_core.errors import NumericalError
from lipflow_core.interfaces import Capture
from lipflow_core.records import Encoding

UNCLIPPED = 1e30
LAST = 50
"""Steps at the end of a run whose median is told."""


@dataclass
class Watch:
    """Figures of every training step, noted by hooks on the parts of a model.

    Attributes:
        steps: A dictionary a step: log σ_q and log σ_p (means), spread of the batch's codes (root mean square over
            dimensions of their standard deviation), log|det| per dimension.
    """

    steps: list[dict[str, float]] = field(default_factory=list)

    def on(self, avatar: lipflow_core.Avatar) -> None:
        """Watch a model."""
        avatar.encoder.register_forward_hook(self._encoded)
        if avatar.driving is not None:
            avatar.driving.register_forward_hook(self._driven)
        avatar.prior.flow.register_forward_hook(self._mapped)

    def _encoded(self, module: nn.Module, inputs: tuple, posterior: Encoding) -> None:
        if _learning(module):
            spread = posterior.mean.detach().std(dim=0).square().mean().sqrt()
            self.steps.append({"sigma_q": posterior.log_std.detach().mean().item(), "spread": spread.item()})

    def _driven(self, module: nn.Module, inputs: tuple, driving: Encoding) -> None:
        if _learning(module):
            self.steps[-1]["sigma_p"] = driving.log_std.detach().mean().item()

    def _mapped(self, module: nn.Module, inputs: tuple, mapped: tuple[Tensor, Tensor]) -> None:
        if _learning(module):
            code, log_det = mapped
            self.steps[-1]["log_det"] = log_det.detach().mean().item() / code.shape[1]

    def at_end(self, name: str) -> float:
        """Median over the last steps; NaN if there are none."""
        values = [step[name] for step in self.steps[-LAST:] if name in step]
        return statistics.median(values) if values else math.nan


def _learning(module: nn.Module) -> bool:
    return module.training and torch.is_grad_enabled()


def set_norms_from_first_batch(flow: nn.Module) -> None:
    """Exchange every ActNorm of a `glow` for nflows' own, which sets itself from the first batch in training mode."""
    layers = flow._transforms
    for place, layer in enumerate(layers):
        if isinstance(layer, ExplicitActNorm):
            layers[place] = ActNorm(len(layer.shift))


def train_jointly(spec: lipflow_core.Spec, capture: Capture, *, first_batch: bool) -> dict[str, float | int | bool]:
    """Train a spec with a flow prior as `lipflow-core train` does, and tell how it went.

    Args:
        spec: With `training.log_every` 1.
        capture: Its capture.
        first_batch: Set ActNorm from the first batch instead of from 256 codes.

    Returns:
        Steps run; whether it ended in finite numbers; skipped steps; held-out L_L at the end and at its best, and with
        the codes' spread taken out (`standardized`), all in nats per dimension; held-out image and geometry terms at
        the end; σ_q and σ_p (geometric means), spread of the codes and log|det| per dimension at the end; median
        and largest norm of the gradient, and largest L_L, after the first tenth of the steps.
    """
    # Weights are drawn from torch's generator; `assemble` seeds it by the spec.
    avatar = lipflow_core.assemble(spec, template=capture.template())
    if first_batch:
        set_norms_from_first_batch(avatar.prior.flow)
    watch = Watch()
    watch.on(avatar)
    with tempfile.TemporaryDirectory() as folder:
        try:
            lipflow_core.train(spec, Path(folder) / "run", avatar=avatar, capture=capture)
            finite = True
        except NumericalError:
            finite = False
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    steps = [row for row in rows if row["kind"] == "train"]
    held_out = [row for row in rows if row["kind"] == "held-out"]
    settled = steps[len(steps) // 10 :]
    norms = _numbers(settled, "gradient_norm")
    latent = _numbers(held_out, "divergence")
    spread = watch.at_end("spread")
    return {
        "ran": steps[-1]["step"],
        "finite": finite,
        "skipped": steps[-1]["skipped"],
        "held_out": latent[-1] if latent else math.nan,
        "best": min(latent, default=math.nan),
        "standardized": latent[-1] - math.log(spread) if latent else math.nan,
        "image": _numbers(held_out, "photometric")[-1] if latent else math.nan,
        "geometry": _numbers(held_out, "geometry")[-1] if latent else math.nan,
        "sigma_q": math.exp(watch.at_end("sigma_q")),
        "sigma_p": math.exp(watch.at_end("sigma_p")),
        "spread": spread,
        "log_det": watch.at_end("log_det"),
        "median_norm": statistics.median(norms) if norms else math.nan,
        "largest_norm": max(norms, default=math.nan),
        "largest_latent": max(_numbers(settled, "divergence"), default=math.nan),
    }


def _numbers(rows: list[dict], name: str) -> list[float]:
    return [row[name] for row in rows if row[name] is not None]
