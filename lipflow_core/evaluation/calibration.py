"""Tests the calibration of a prior on Q's codes: their likelihood, the coverage of its credible regions, its width.

Any prior with `sample` and `log_prob` can be tested. The rank of Q's code z among M draws of the prior tells which
credible regions hold z. If z were a draw of the prior itself, all M + 1 ranks would be equally likely (Talts et al.,
"Validating Bayesian inference algorithms with simulation-based calibration", 2018). A region of level c then holds z in
a share c of all frames, for any M.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import computed_field, model_validator
from torch import Tensor

from lipflow_core.densities import bounded_normal
from lipflow_core.interfaces import ConditionedPrior
from lipflow_core.records import Encoding, Record
from lipflow_core.results import Number, Result, finite_mean

DRAWS = 199
"""Number of draws of the prior for each frame. They give 200 ranks, so that every level is a whole number of ranks."""
SAMPLES = 16
"""Number of samples of Q for each frame."""
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
CALIBRATION_DEFINITIONS = {
    "NLL": "−log p of Q's code under the prior that fits, in nats per dimension of the code; of Q's mean code, and "
    "averaged over samples of Q. Standardised, the latter with codes in units of their spread over all frames: a "
    "prior that knows only mean and spread of each dimension scores 1.42.",
    "Coverage": "How many of Q's samples lie in the prior's credible region of a nominal level, by their rank among "
    "draws of the prior; in each dimension, the central interval of the draws; joint, the region of highest density. A "
    "prior that is right covers as much as its level says, an overconfident one less.",
    "Width": "Standard deviation of the prior given a frame, over that of Q's codes of all frames, as a geometric mean "
    "over dimensions and frames; 1 knows no more than how codes are spread.",
}
"""Definitions of the table's figures."""


class Calibration(Result):
    """Holds the calibration of the fitting prior on Q's codes; see `CALIBRATION_DEFINITIONS`."""

    nll: dict[Literal["q_mean", "q_samples"], tuple[Number, ...]]
    """"q_mean", Q's mean code, and "q_samples", the average over samples of Q → nats per dimension, a value per frame;
    NaN where it is not finite."""
    levels: tuple[float, ...]
    """Nominal levels of credible regions; 0.5 and 0.9 are among them."""
    coverage: dict[Literal["dimension", "joint"], tuple[Number, ...]]
    """"dimension", central intervals in each dimension, and "joint", highest-density regions of the whole code → for
    each level the share of Q's samples inside."""
    width: Number
    """Standard deviation of the prior given a frame, relative to the spread of Q's codes over all frames; geometric
    mean over dimensions and frames."""
    spread: Number
    """Standard deviation of Q's codes over all frames, a geometric mean over dimensions."""
    draws: int
    """Draws of the prior for each frame."""
    samples: int
    """Number of samples of Q for each frame."""

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if not {0.5, 0.9} <= set(self.levels):
            raise ValueError("levels lack 0.5 or 0.9")
        if {*self.coverage} != {"dimension", "joint"} or {*map(len, self.coverage.values())} != {len(self.levels)}:
            raise ValueError("coverage is not one value for each level, of 'dimension' and of 'joint'")
        if {*self.nll} != {"q_mean", "q_samples"} or len({*map(len, self.nll.values())}) != 1:
            raise ValueError("nll is not one value for each frame, of 'q_mean' and of 'q_samples'")
        return self

    @computed_field
    @property
    def figures(self) -> dict[str, Number]:
        """The table's figures."""
        return {name: self.figure(name) for name in CALIBRATION_HEADINGS}

    def figure(self, name: str) -> float:
        """Give a figure of the table, such as "nll.q_mean" (the mean over frames), "joint.0.9" or "width".

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
        return self.coverage[kind][self.levels.index(float(which))]


@dataclass(frozen=True)
class Ranks(Record):
    """Holds the ranks of Q's codes of N frames among draws of the prior.

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


@torch.no_grad()
def rank(prior: ConditionedPrior, posterior: Encoding, generator: torch.Generator) -> Ranks:
    """Rank `SAMPLES` samples of Q for each frame among `DRAWS` draws of the prior.

    Args:
        prior: Conditioned prior of N frames, or one row that broadcasts.
        posterior: Q's Gaussians of the same frames.
        generator: Generator of the draws and of Q's samples.
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
    """Summarise the ranks of all frames. If Q's code of a frame is not finite, it counts as outside every region."""
    sound = ranks.mean.isfinite().all(dim=1) & ranks.variance.isfinite().all(dim=1)
    mean, variance = ranks.mean[sound], ranks.variance[sound]
    spread = (mean.var(dim=0, correction=0) + variance.mean(dim=0)).sqrt()
    return Calibration(
        nll={"q_mean": ranks.nll_mean.tolist(), "q_samples": ranks.nll_samples.tolist()},
        levels=_LEVELS,
        coverage={
            kind: [float((levels < level).double().mean()) for level in _LEVELS]
            for kind, levels in (("dimension", ranks.dimension), ("joint", ranks.joint))
        },
        width=float((ranks.prior_log_std - spread.log()).double().nanmean().exp()),
        spread=float(spread.log().double().mean().exp()),
        draws=DRAWS,
        samples=SAMPLES,
    )


def _draw(prior: ConditionedPrior, frames: int, generator: torch.Generator) -> Tensor:
    """Draw (M, N, D), or (M, 1, D) if one row broadcasts; in portions, since flows copy their rows for each draw."""
    together = max(1, _TOGETHER // frames)
    return torch.cat([prior.sample(min(together, DRAWS - i), generator) for i in range(0, DRAWS, together)])
