"""Prior `flow`: a Gaussian seen through a flow."""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_core.densities import FlowDensity, GaussianDensity, driving_gaussian, entropy
from lipflow_core.interfaces import ConditionedFlow, LatentPrior
from lipflow_core.plans import PriorInputs
from lipflow_core.records import Encoding
from lipflow_priors.config import FlowPriorConfig


class FlowPrior(LatentPrior):
    """A Gaussian base seen through a flow: the driving encoder's (LiP-Flow) or the standard one (DAM-Flow).

    The divergence is −log p(z^q) / D with p as in `lipflow_core.densities.FlowDensity` (supplement, section H.1), less
    Q's entropy where that is kept, plus `driving_entropy` times P's.

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
        return FlowDensity(flow, self._base(driving)).log_prob(code)

    def condition(self, driving: Encoding | None) -> FlowDensity:
        self._check(driving)
        return FlowDensity(self.flow.condition(self._context(driving)), self._base(driving))

    @property
    def initialized(self) -> bool:
        return self.flow.initialized

    def initialize(self, code: Tensor, driving: Encoding | None) -> None:
        self._check(driving)
        self.flow.initialize(code, self._context(driving))

    def _context(self, driving: Encoding | None) -> Tensor | None:
        return None if self.config.base == "standard-normal" else driving.features

    def _base(self, driving: Encoding | None) -> GaussianDensity:
        if self.config.base == "standard-normal":
            return GaussianDensity(self.zero, self.zero, broadcasts=True)
        return driving_gaussian(driving, self.config.std)
