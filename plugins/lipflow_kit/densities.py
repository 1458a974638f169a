"""Defines densities that priors are built from: diagonal Gaussians, and any density seen through a flow.

Each is a `ConditionedPrior`, the result of `LatentPrior.condition`. `SeenThroughFlow` is the base of priors whose
density is seen through a flow.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.distributions import Normal

from lipflow_core.densities import bounded_log_std
from lipflow_core.interfaces import ConditionedFlow, ConditionedPrior, LatentPrior
from lipflow_core.plans import PriorInputs
from lipflow_core.records import Encoding, Residuals
from lipflow_kit.flow_priors import SeenThroughFlowConfig


def entropy(encoding: Encoding) -> Tensor:
    """Compute the entropy of an encoding's Gaussian, (B,) nats per dimension."""
    return bounded_log_std(encoding.log_std).mean(dim=1) + 0.5 * math.log(2 * math.pi * math.e)


class Density(ConditionedPrior, ABC):
    """A conditioned prior that may have one row for all codes.

    Attributes:
        broadcasts: Whether its single row is used for every code; `rows` then returns it unchanged.
    """

    broadcasts: bool = False


class BaseDensity(Density):
    """A density that can be the base of a flow."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """Compute the entropy in nats, (B,), or (1,) if the density broadcasts."""

    @abstractmethod
    def rows(self, index: Tensor) -> BaseDensity:
        """Select rows, as `ConditionedPrior.rows` does."""


class GaussianDensity(BaseDensity):
    """A diagonal Gaussian over the code.

    Args:
        mean: (B, D), or (1, D) if it broadcasts.
        log_std: Natural logarithm of σ, of the shape of `mean`.
        broadcasts: Whether the single row is used for every code.

    Attributes:
        normal: The Gaussian as D independent normals, with the batch shape of `mean`.
    """

    def __init__(self, mean: Tensor, log_std: Tensor, broadcasts: bool = False):
        self.mean = mean
        self.log_std = log_std
        self.broadcasts = broadcasts
        # torch's Independent fails on an empty batch.
        self.normal = Normal(mean, log_std.exp(), validate_args=False)

    def log_prob(self, code: Tensor) -> Tensor:
        return self.normal.log_prob(code).sum(dim=1)

    def residuals(self, code: Tensor) -> Residuals:
        return Residuals(self.to_base(code), code.new_full((1, 1), 0.5))

    def to_base(self, code: Tensor) -> Tensor:
        return (code - self.mean) / self.normal.stddev

    def from_base(self, point: Tensor) -> Tensor:
        return self.mean + self.normal.stddev * point

    def mode(self) -> Tensor:
        return self.mean

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        shape = (count, *self.mean.shape)
        noise = torch.randn(shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + self.normal.stddev * noise

    def entropy(self) -> Tensor:
        return self.normal.entropy().sum(dim=1)

    def rows(self, index: Tensor) -> GaussianDensity:
        return self if self.broadcasts else GaussianDensity(self.mean[index], self.log_std[index])


def driving_gaussian(driving: Encoding, std: Literal["driving"] | float) -> GaussianDensity:
    """Make the driving encoder's Gaussian N(μ^p, σ^p), with σ^p fixed to `std` if that is a number."""
    if isinstance(std, str):
        return GaussianDensity(driving.mean, bounded_log_std(driving.log_std))
    return GaussianDensity(driving.mean, torch.full_like(driving.mean, math.log(std)))


class FlowDensity(Density):
    """A base density seen through a flow: log p(z) = log p_base(F(z; h)) + log|det ∂F(z; h)/∂z|, with h fixed.

    Args:
        flow: Flow F with its context h fixed.
        base: Density p_base, in LiP-Flow N(μ^p, σ^p); broadcasts if F is unconditional.
    """

    def __init__(self, flow: ConditionedFlow, base: BaseDensity):
        self.flow = flow
        self.base = base
        self.broadcasts = base.broadcasts

    def log_prob(self, code: Tensor) -> Tensor:
        mapped, log_abs_det = self.flow.forward(code)
        return self.base.log_prob(mapped) + log_abs_det

    def residuals(self, code: Tensor) -> Residuals | None:
        """Compute those of the base at F(z). They lack log|det|, which is constant if F preserves volume."""
        return self.base.residuals(self.flow.forward(code)[0])

    def to_base(self, code: Tensor) -> Tensor:
        return self.base.to_base(self.flow.forward(code)[0])

    def from_base(self, point: Tensor) -> Tensor:
        return self.flow.inverse(self.base.from_base(point))[0]

    def mode(self) -> Tensor:
        """Map the base's mode by F^-1: the paper's start of fitting, and the true mode if F preserves volume."""
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


class SeenThroughFlow(LatentPrior, ABC):
    """A prior whose density is a base seen through the spec's flow; implement `base`.

    The flow is conditioned on the driving encoder's features, or is unconditional if `flow_inputs` has no context. The
    divergence is −log p(z^q) / D with p as in `FlowDensity` (supplement, section H.1), minus Q's entropy where that is
    kept, plus `prior_entropy` times the entropy of p in Q's space,

        H(p) = H(p_base) − E log|det ∂F/∂z|.

    Base and flow may shrink together without changing it. The expectation is exact for a flow that preserves volume;
    for any other flow it is estimated at z^q.

    Args:
        config: Options of the prior.
        given: Inputs of the prior, with the flow.

    Attributes:
        flow: Flow F, built.
        zero: (1, D) zeros, for a base that does not depend on the driving encoder.
    """

    config: SeenThroughFlowConfig

    def __init__(self, config: SeenThroughFlowConfig, given: PriorInputs):
        super().__init__(config, given)
        flow_inputs = config.flow_inputs(given)
        assert given.flow is not None, "its Config plans no prior without a flow"
        self.flow = given.flow.build(flow_inputs)
        self._conditional = flow_inputs.context > 0
        # A buffer so that it follows the model's device and dtype; constant, so not saved.
        self.register_buffer("zero", torch.zeros(1, given.code), persistent=False)

    @abstractmethod
    def base(self, driving: Encoding | None) -> BaseDensity:
        """Make the density in P's space: B rows, or one row that broadcasts if the flow is unconditional."""

    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        base = self.base(driving)
        mapped, log_abs_det = self.flow(code, self._context(driving))
        divergence = -(base.log_prob(mapped) + log_abs_det)
        if self.config.prior_entropy > 0:
            divergence = divergence + self.config.prior_entropy * (base.entropy() - log_abs_det)
        divergence = divergence / self.given.code
        return divergence - entropy(posterior) if self.config.posterior_entropy == "keep" else divergence

    def log_prob(self, code: Tensor, driving: Encoding | None) -> Tensor:
        # A conditioned flow may give gradients to the code alone, so `condition` is not used here.
        self.check_driving(driving)
        return FlowDensity(ConditionedFlow(self.flow, self._context(driving)), self.base(driving)).log_prob(code)

    def condition(self, driving: Encoding | None) -> FlowDensity:
        self.check_driving(driving)
        return FlowDensity(self.flow.condition(self._context(driving)), self.base(driving))

    @property
    def initialized(self) -> bool:
        return self.flow.initialized

    def initialize(self, code: Tensor, driving: Encoding | None) -> None:
        self.check_driving(driving)
        self.flow.initialize(code, self._context(driving))

    def _context(self, driving: Encoding | None) -> Tensor | None:
        return driving.features if self._conditional and driving is not None else None
