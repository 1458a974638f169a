"""Is a prior right about Q's codes: how likely are they, do its credible regions hold them, and how wide is it?

Any prior that gives `sample` and `log_prob` can be asked. Where Q's code z ranks among M draws of the prior tells in
which credible regions it lies; were z drawn from the prior itself, each of the M + 1 ranks would be as likely as any
other (Talts et al., "Validating Bayesian inference algorithms with simulation-based calibration", 2018), so that a
region of level c holds z in c of all frames, whatever M is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from lipflow_core.densities import bounded_normal
from lipflow_core.interfaces import ConditionedPrior
from lipflow_core.records import Encoding, Record

DRAWS = 199
"""Draws of the prior for each frame: 200 ranks, so that every level is a whole number of them."""
SAMPLES = 16
"""Samples of Q for each frame."""
SEED = 0

_LEVELS = tuple(level / 100 for level in range(5, 100, 5))
_TOGETHER = 2048


CALIBRATION_HEADINGS = {
    "nll.q_mean": "NLL of Q's mean",
    "nll.q_samples": "of samples",
    "nll.standardized": "standardised",
    "dimension.0.5": "50 % per dim.",
    "dimension.0.9": "90 % per dim.",
    "joint.0.5": "50 % joint",
    "joint.0.9": "90 % joint",
    "width": "width",
}
"""Columns of the calibration's table, as `Calibration.figure` takes them → their headings."""


@dataclass(frozen=True)
class Calibration:
    """How right the prior that fits is about Q's codes; see `lipflow_core.evaluation.DEFINITIONS`.

    Args:
        nll: "q_mean", Q's mean code, and "q_samples", the average over samples of Q → nats per dimension, a value per
            frame; NaN where it is not finite.
        levels: Nominal levels of credible regions.
        coverage: "dimension", central intervals in each dimension, and "joint", highest-density regions of the whole
            code → for each level the share of Q's samples inside.
        width: Standard deviation of the prior given a frame, relative to the spread of Q's codes over all frames;
            geometric mean over dimensions and frames.
        spread: Standard deviation of Q's codes over all frames, a geometric mean over dimensions.
        draws: Draws of the prior for each frame.
        samples: Samples of Q for each frame.
    """

    nll: Mapping[str, Sequence[float]]
    levels: Sequence[float]
    coverage: Mapping[str, Sequence[float]]
    width: float
    spread: float
    draws: int
    samples: int

    def figure(self, name: str) -> float:
        """A figure of the table, such as "nll.q_mean" (the mean over frames), "joint.0.9" or "width".

        "nll.standardized" is that of samples in units of the codes' spread, so that models compare whose codes spread
        differently.
        """
        kind, _, which = name.partition(".")
        if kind == "width":
            return self.width
        if which == "standardized":
            return finite_mean(self.nll["q_samples"]) - (math.log(self.spread) if self.spread > 0 else math.nan)
        if kind == "nll":
            return finite_mean(self.nll[which])
        return self.coverage[kind][list(self.levels).index(float(which))]

    def as_data(self) -> dict[str, Any]:
        """For JSON; the table's figures stand beside the frames' values."""
        return {**asdict(self), "figures": {name: self.figure(name) for name in CALIBRATION_HEADINGS}}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_data` wrote, NaN as null."""
        values = {name: value for name, value in data.items() if name != "figures"}
        values["nll"] = {code: with_nan(column) for code, column in data["nll"].items()}
        for name in ("width", "spread"):
            values[name] = math.nan if data.get(name) is None else data[name]
        return cls(**values)


@dataclass(frozen=True)
class Ranks(Record):
    """Q's codes of N frames among draws of the prior.

    Args:
        nll_mean: (N,) −log p(μ^q) / D, nats per dimension.
        nll_samples: (N,) the same averaged over samples of Q.
        joint: (N, S) for each sample of Q, the share of draws that are more likely than it: the level of the smallest
            highest-density region that holds it.
        dimension: (N, S, D) the level of the smallest central interval that holds the sample, in each dimension.
        prior_log_std: (N, D) log standard deviation of the draws.
        mean: (N, D) μ^q.
        variance: (N, D) σ^q squared.
    """

    nll_mean: Tensor
    nll_samples: Tensor
    joint: Tensor
    dimension: Tensor
    prior_log_std: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Several batches of frames as one."""
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))


@torch.no_grad()
def rank(prior: ConditionedPrior, posterior: Encoding, generator: torch.Generator) -> Ranks:
    """Rank `SAMPLES` samples of Q for each frame among `DRAWS` draws of the prior.

    Args:
        prior: Given N frames' driving signal, or a row that broadcasts.
        posterior: Q's Gaussians of the same frames.
        generator: Of the draws and of Q's samples.
    """
    normal = bounded_normal(posterior)
    frames, size = normal.mean.shape
    drawn = _draw(prior, frames, generator)
    noise = torch.randn((SAMPLES, frames, size), generator=generator, dtype=drawn.dtype, device=drawn.device)
    codes = normal.mean + normal.stddev * noise
    height = torch.stack([prior.log_prob(code) for code in codes])
    if drawn.shape[1] == frames:
        heights = torch.stack([prior.log_prob(draw) for draw in drawn])
    else:  # One row that broadcasts: its draws are a batch.
        heights = prior.log_prob(drawn[:, 0])[:, None]
    # "Not at most as likely" and not "more likely", so that a code of log-density NaN lies outside of every region.
    above = torch.stack([(~(heights <= one)).sum(dim=0) for one in height], dim=1)
    below = torch.stack([(drawn < code).sum(dim=0) for code in codes], dim=1)
    return Ranks(
        nll_mean=-prior.log_prob(normal.mean) / size,
        nll_samples=-height.mean(dim=0) / size,
        joint=(above + 0.5) / (DRAWS + 1),
        dimension=(2 * below - DRAWS).abs() / (DRAWS + 1),
        prior_log_std=drawn.std(dim=0).log().expand(frames, -1),
        mean=normal.mean,
        variance=normal.variance,
    )


def calibration(ranks: Ranks) -> Calibration:
    """What the ranks of all frames say."""
    spread = (ranks.mean.var(dim=0, correction=0) + ranks.variance.mean(dim=0)).sqrt()
    return Calibration(
        nll={"q_mean": ranks.nll_mean.tolist(), "q_samples": ranks.nll_samples.tolist()},
        levels=_LEVELS,
        coverage={
            kind: [float((levels < level).double().mean()) for level in _LEVELS]
            for kind, levels in (("dimension", ranks.dimension), ("joint", ranks.joint))
        },
        width=float((ranks.prior_log_std - spread.log()).double().mean().exp()),
        spread=float(spread.log().double().mean().exp()),
        draws=DRAWS,
        samples=SAMPLES,
    )


def _draw(prior: ConditionedPrior, frames: int, generator: torch.Generator) -> Tensor:
    """Draws (M, N, D), or (M, 1, D) of a row that broadcasts; a few at once, as flows copy their rows for each."""
    together = max(1, _TOGETHER // frames)
    return torch.cat([prior.sample(min(together, DRAWS - i), generator) for i in range(0, DRAWS, together)])


def finite_mean(values: Sequence[float]) -> float:
    """The mean of what is finite; NaN if nothing is."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def with_nan(column: Sequence[float | None]) -> list[float]:
    """A column read from JSON, where NaN is null."""
    return [math.nan if value is None else value for value in column]
