"""The priors that are one Gaussian."""

from __future__ import annotations

import torch
from lipflow_kit.densities import GaussianDensity, driving_gaussian
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from lipflow_core.densities import bounded_normal
from lipflow_core.interfaces import LatentPrior
from lipflow_core.plans import PriorInputs
from lipflow_core.records import Encoding
from lipflow_priors.config import DrivingGaussianConfig, StandardNormalConfig


class StandardNormalPrior(LatentPrior):
    """Puts N(0, I) over the code; the divergence is KL(Q‖N(0, I)) in closed form."""

    config: StandardNormalConfig
    given: PriorInputs

    def __init__(self, config: StandardNormalConfig, given: PriorInputs):
        super().__init__(config, given)
        # A buffer follows the model's device and type; as a constant it is not saved.
        self.register_buffer("zero", torch.zeros(1, given.code), persistent=False)

    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        standard = Normal(torch.zeros_like(posterior.mean), torch.ones_like(posterior.mean), validate_args=False)
        return kl_divergence(bounded_normal(posterior), standard).mean(dim=1)

    def condition(self, driving: Encoding | None) -> GaussianDensity:
        return GaussianDensity(self.zero, self.zero, broadcasts=True)


class DrivingGaussianPrior(LatentPrior):
    """Puts N(μ^p, σ^p) of the driving encoder over the code; the divergence is a KL divergence or −log p(z^q)."""

    config: DrivingGaussianConfig
    given: PriorInputs

    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        base = driving_gaussian(driving, self.config.std)
        if self.config.divergence == "likelihood":
            return -base.log_prob(code) / self.given.code
        prior, posterior_normal = base.normal, bounded_normal(posterior)
        if self.config.divergence == "reverse-kl":
            return kl_divergence(prior, posterior_normal).mean(dim=1)
        return kl_divergence(posterior_normal, prior).mean(dim=1)

    def condition(self, driving: Encoding | None) -> GaussianDensity:
        self.check_driving(driving)
        return driving_gaussian(driving, self.config.std)
