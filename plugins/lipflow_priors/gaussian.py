"""Gaussian priors, and what every prior over a Gaussian base needs."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from lipflow_core.interfaces import ConditionedPrior, LatentPrior
from lipflow_core.plans import PriorInputs
from lipflow_core.records import Encoding
from lipflow_priors.config import DrivingGaussianConfig, StandardNormalConfig

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


def bounded(encoding: Encoding) -> Normal:
    """An encoding's Gaussian with bounded log σ, as D independent normals: batch shape (B, D)."""
    return Normal(encoding.mean, bounded_log_std(encoding.log_std).exp(), validate_args=False)


def entropy(encoding: Encoding) -> Tensor:
    """Entropy of an encoding's Gaussian, (B,) nats per dimension."""
    return bounded_log_std(encoding.log_std).mean(dim=1) + 0.5 * math.log(2 * math.pi * math.e)


class ConditionedGaussian(ConditionedPrior):
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

    def rows(self, index: Tensor) -> ConditionedGaussian:
        return self if self.broadcasts else ConditionedGaussian(self.mean[index], self.log_std[index])


class StandardNormalPrior(LatentPrior):
    """N(0, I) over the code; the divergence is KL(Q‖N(0, I)) in closed form."""

    config: StandardNormalConfig
    given: PriorInputs

    def __init__(self, config: StandardNormalConfig, given: PriorInputs):
        super().__init__(config, given)
        # A buffer so that it follows the model's device and dtype; constant, so not saved.
        self.register_buffer("zero", torch.zeros(1, given.code), persistent=False)

    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        standard = Normal(torch.zeros_like(posterior.mean), torch.ones_like(posterior.mean), validate_args=False)
        return kl_divergence(bounded(posterior), standard).mean(dim=1)

    def condition(self, driving: Encoding | None) -> ConditionedGaussian:
        return ConditionedGaussian(self.zero, self.zero, broadcasts=True)


def driving_base(driving: Encoding, std: str | float) -> ConditionedGaussian:
    """The driving encoder's Gaussian N(μ^p, σ^p), with σ^p fixed if `std` is a number."""
    if std == "driving":
        return ConditionedGaussian(driving.mean, bounded_log_std(driving.log_std))
    return ConditionedGaussian(driving.mean, torch.full_like(driving.mean, math.log(std)))


class DrivingGaussianPrior(LatentPrior):
    """N(μ^p, σ^p) of the driving encoder; the divergence is one of the KL divergences or the negative likelihood."""

    config: DrivingGaussianConfig
    given: PriorInputs

    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        base = driving_base(driving, self.config.std)
        if self.config.divergence == "likelihood":
            return -base.log_prob(code) / self.given.code
        prior, posterior_normal = base.normal, bounded(posterior)
        if self.config.divergence == "reverse-kl":
            return kl_divergence(prior, posterior_normal).mean(dim=1)
        return kl_divergence(posterior_normal, prior).mean(dim=1)

    def condition(self, driving: Encoding | None) -> ConditionedGaussian:
        self._check(driving)
        return driving_base(driving, self.config.std)
