"""Prior `flow`: a Gaussian seen through a flow."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor

from lipflow_core.interfaces import ConditionedFlow, ConditionedPrior, LatentPrior
from lipflow_core.plans import PriorInputs
from lipflow_core.records import Encoding
from lipflow_priors.config import FlowPriorConfig
from lipflow_priors.gaussian import ConditionedGaussian, driving_base, entropy


class ConditionedFlowPrior(ConditionedPrior):
    """log p(z) = log N(F(z; h); μ, σ) + log|det ∂F/∂z|, with h, μ and σ fixed.

    Args:
        flow: F at fixed h.
        base: N(μ, σ); broadcasts if F is unconditional.
    """

    def __init__(self, flow: ConditionedFlow, base: ConditionedGaussian):
        self.flow = flow
        self.base = base

    def log_prob(self, code: Tensor) -> Tensor:
        mapped, log_abs_det = self.flow.forward(code)
        return self.base.log_prob(mapped) + log_abs_det

    def mode(self) -> Tensor:
        """F^-1(μ; h), where the paper starts fitting; the mode itself if F preserves volume."""
        return self.flow.inverse(self.base.mode())[0]

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        draws = self.base.sample(count, generator)
        flow = self.flow
        if not self.base.broadcasts:
            rows = repeat(torch.arange(draws.shape[1], device=draws.device), "b -> (count b)", count=count)
            flow = flow.rows(rows)
        codes, _ = flow.inverse(rearrange(draws, "count b d -> (count b) d"))
        return codes.view(draws.shape)

    def rows(self, index: Tensor) -> ConditionedFlowPrior:
        return self if self.base.broadcasts else ConditionedFlowPrior(self.flow.rows(index), self.base.rows(index))


class FlowPrior(LatentPrior):
    """A Gaussian base seen through a flow: the driving encoder's (LiP-Flow) or the standard one (DAM-Flow).

    The divergence is −log p(z^q) / D with p as in `ConditionedFlowPrior` (supplement, section H.1), less Q's entropy
    where that is kept, plus `driving_entropy` times P's.

    Attributes:
        flow: F.
    """

    config: FlowPriorConfig
    given: PriorInputs

    def __init__(self, config: FlowPriorConfig, given: PriorInputs):
        super().__init__(config, given)
        self.flow = given.flow.build(config.flow_inputs(given))
        self.register_buffer("zero", torch.zeros(1, given.code), persistent=False)

    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        divergence = -self.log_prob(code, driving) / self.given.code
        if self.config.posterior_entropy == "keep":
            divergence = divergence - entropy(posterior)
        if self.config.driving_entropy > 0:
            divergence = divergence + self.config.driving_entropy * entropy(driving)
        return divergence

    def log_prob(self, code: Tensor, driving: Encoding | None) -> Tensor:
        # Not through `condition`, whose folded flow gives gradients to the code alone.
        self._check(driving)
        flow = ConditionedFlow(self.flow, self._context(driving))
        return ConditionedFlowPrior(flow, self._base(driving)).log_prob(code)

    def condition(self, driving: Encoding | None) -> ConditionedFlowPrior:
        self._check(driving)
        return ConditionedFlowPrior(self.flow.condition(self._context(driving)), self._base(driving))

    @property
    def initialized(self) -> bool:
        return self.flow.initialized

    def initialize(self, code: Tensor, driving: Encoding | None) -> None:
        self._check(driving)
        self.flow.initialize(code, self._context(driving))

    def _context(self, driving: Encoding | None) -> Tensor | None:
        return None if self.config.base == "standard-normal" else driving.features

    def _base(self, driving: Encoding | None) -> ConditionedGaussian:
        if self.config.base == "standard-normal":
            return ConditionedGaussian(self.zero, self.zero, broadcasts=True)
        return driving_base(driving, self.config.std)
