"""Densities that priors are put together from: diagonal Gaussians, and any density seen through a flow.

Each is a `ConditionedPrior`: what `LatentPrior.condition` gives, or the base of one.
"""

from __future__ import annotations

import math
from abc import ABC

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.distributions import Normal

from lipflow_core.interfaces import ConditionedFlow, ConditionedPrior
from lipflow_core.records import Encoding

FREE_LOG_STD = 8.0
"""Predicted log standard deviations within ±8 are taken as they are …"""
LARGEST_LOG_STD = 10.0
"""… and those beyond are bent to stay within ±10, so that no likelihood or KL overflows in float32."""


def bounded_log_std(log_std: Tensor) -> Tensor:
    """Bend log σ into ±LARGEST_LOG_STD; the identity within ±FREE_LOG_STD, once differentiable everywhere.

    Its slope falls off with the square of the excess and not exponentially, so that a head that went astray comes back.
    """
    room = LARGEST_LOG_STD - FREE_LOG_STD
    free = log_std.clamp(-FREE_LOG_STD, FREE_LOG_STD)
    excess = (log_std - free) / room
    return free + room * excess / (1 + excess.abs())


def bounded_normal(encoding: Encoding) -> Normal:
    """An encoding's Gaussian with bounded log σ, as D independent normals: batch shape (B, D)."""
    return Normal(encoding.mean, bounded_log_std(encoding.log_std).exp(), validate_args=False)


def entropy(encoding: Encoding) -> Tensor:
    """Entropy of an encoding's Gaussian, (B,) nats per dimension."""
    return bounded_log_std(encoding.log_std).mean(dim=1) + 0.5 * math.log(2 * math.pi * math.e)


class Density(ConditionedPrior, ABC):
    """A conditioned prior that may stand for all codes with one row.

    Attributes:
        broadcasts: Its one row stands for every code, so that `rows` leaves it as it is.
    """

    broadcasts: bool = False


class GaussianDensity(Density):
    """Diagonal Gaussian.

    Args:
        mean: (B, D), or (1, D) if it broadcasts.
        log_std: As `mean`.
        broadcasts: Its one row stands for every code.

    Attributes:
        normal: As D independent normals, batch shape as `mean`.
    """

    def __init__(self, mean: Tensor, log_std: Tensor, broadcasts: bool = False):
        self.mean = mean
        self.log_std = log_std
        self.broadcasts = broadcasts
        # Not torch's Independent, which fails on a batch of none.
        self.normal = Normal(mean, log_std.exp(), validate_args=False)

    def log_prob(self, code: Tensor) -> Tensor:
        return self.normal.log_prob(code).sum(dim=1)

    def mode(self) -> Tensor:
        return self.mean

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        shape = (count, *self.mean.shape)
        noise = torch.randn(shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + self.normal.stddev * noise

    def rows(self, index: Tensor) -> GaussianDensity:
        return self if self.broadcasts else GaussianDensity(self.mean[index], self.log_std[index])


def driving_gaussian(driving: Encoding, std: str | float) -> GaussianDensity:
    """The driving encoder's Gaussian N(μ^p, σ^p), with σ^p fixed if `std` is a number."""
    if std == "driving":
        return GaussianDensity(driving.mean, bounded_log_std(driving.log_std))
    return GaussianDensity(driving.mean, torch.full_like(driving.mean, math.log(std)))


class FlowDensity(Density):
    """A base density seen through a flow: log p(z) = log p_base(F(z; h)) + log|det ∂F(z; h)/∂z|, with h fixed.

    Args:
        flow: F at fixed h.
        base: p_base, in LiP-Flow N(μ^p, σ^p); broadcasts if F is unconditional.
    """

    def __init__(self, flow: ConditionedFlow, base: Density):
        self.flow = flow
        self.base = base
        self.broadcasts = base.broadcasts

    def log_prob(self, code: Tensor) -> Tensor:
        mapped, log_abs_det = self.flow.forward(code)
        return self.base.log_prob(mapped) + log_abs_det

    def mode(self) -> Tensor:
        """F^-1 of the base's mode, where the paper starts fitting; the mode itself if F preserves volume."""
        return self.flow.inverse(self.base.mode())[0]

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        draws = self.base.sample(count, generator)
        flow = self.flow
        if not self.base.broadcasts:
            rows = repeat(torch.arange(draws.shape[1], device=draws.device), "b -> (count b)", count=count)
            flow = flow.rows(rows)
        codes, _ = flow.inverse(rearrange(draws, "count b d -> (count b) d"))
        return codes.view(draws.shape)

    def rows(self, index: Tensor) -> FlowDensity:
        return self if self.base.broadcasts else FlowDensity(self.flow.rows(index), self.base.rows(index))
