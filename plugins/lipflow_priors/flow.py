"""The prior that sees a Gaussian through a flow."""

from __future__ import annotations

from lipflow_kit.densities import GaussianDensity, SeenThroughFlow, driving_gaussian, entropy
from torch import Tensor

from lipflow_core.plans import PriorInputs
from lipflow_core.records import Encoding
from lipflow_priors.config import FlowPriorConfig


class FlowPrior(SeenThroughFlow):
    """Sees a Gaussian base through a flow: the driving encoder's (LiP-Flow) or the standard one (DAM-Flow).

    The divergence is that of `SeenThroughFlow`, plus `driving_entropy` times the entropy of the driving encoder's
    Gaussian.
    """

    config: FlowPriorConfig
    given: PriorInputs

    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        divergence = super().divergence_from(posterior, code, driving)
        if self.config.driving_entropy > 0:
            divergence = divergence + self.config.driving_entropy * entropy(driving)
        return divergence

    def base(self, driving: Encoding | None) -> GaussianDensity:
        if self.config.base == "standard-normal":
            return GaussianDensity(self.zero, self.zero, broadcasts=True)
        return driving_gaussian(driving, self.config.std)
