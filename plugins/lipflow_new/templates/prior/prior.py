"""Prior `skeleton-name`: one Gaussian for all codes, its mean and spread learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from lipflow_core.interfaces import ConditionedPrior, LatentPrior
from lipflow_core.plans import PriorInputs
from lipflow_core.records import Encoding

from .config import SkeletonConfig


class Skeleton(LatentPrior):
    """p(z) = N(z; μ, diag σ²) with learned μ and σ; tied to the posterior by KL(Q‖p) in closed form.

    Args:
        config: Its options.
        given: Size of the code.
    """

    def __init__(self, config: SkeletonConfig, given: PriorInputs):
        super().__init__(config, given)
        self.mean = nn.Parameter(torch.zeros(1, given.code))
        self.log_std = nn.Parameter(torch.full((1, given.code), math.log(config.start_std)))

    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        return kl_divergence(gaussian(posterior.mean, posterior.log_std), gaussian(self.mean, self.log_std)).mean(-1)

    def condition(self, driving: Encoding | None) -> ConditionedPrior:
        return ConditionedSkeleton(self.mean, self.log_std)


class ConditionedSkeleton(ConditionedPrior):
    """The Gaussian as fitting sees it: one row that broadcasts.

    Args:
        mean: (1, D).
        log_std: (1, D), natural logarithm.
    """

    def __init__(self, mean: Tensor, log_std: Tensor):
        self.mean = mean
        self.log_std = log_std

    def log_prob(self, code: Tensor) -> Tensor:
        return gaussian(self.mean, self.log_std).log_prob(code).sum(-1)

    def mode(self) -> Tensor:
        return self.mean

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(
            count, *self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device
        )
        return self.mean + self.log_std.exp() * noise

    def rows(self, index: Tensor) -> ConditionedSkeleton:
        return self


def gaussian(mean: Tensor, log_std: Tensor) -> Normal:
    """N(μ, diag σ²) as D independent normals: its log_prob and divergences are (B, D), one for each dimension."""
    return Normal(mean, log_std.exp(), validate_args=False)
