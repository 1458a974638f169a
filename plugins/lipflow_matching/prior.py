"""The prior that refines a Gaussian by flow matching."""

from __future__ import annotations

import math

import torch
from lipflow_kit.densities import GaussianDensity, driving_gaussian, entropy
from torch import Tensor
from torch.distributions import kl_divergence

from lipflow_core.densities import bounded_normal
from lipflow_core.interfaces import LatentPrior
from lipflow_core.plans import PriorInputs
from lipflow_core.records import Encoding
from lipflow_matching.config import FlowMatchingConfig
from lipflow_matching.density import MatchingDensity, Numerics
from lipflow_matching.network import VelocityNetwork

_SEED = 0


class FlowMatchingPrior(LatentPrior):
    r"""Refines a Gaussian by flow matching (Lipman et al., "Flow matching for generative modeling", 2023).

    The divergence is a bound of KL(Q‖p) / D: KL(Q‖N(μ, σ)) / D in closed form, plus the correction of the velocity,

        KL(Q‖p) ≤ KL(Q‖N(μ, σ)) + E_{z ~ Q} correction(z),

    with `correction` of `lipflow_matching.density.MatchingDensity`. Its gradients reach Q, P and the velocity (as in
    Vahdat et al., "Score-based generative modeling in latent space", 2021). The plain regression of flow matching
    cannot train Q and P: it is smallest if all codes shrink to a point, where every velocity is known. Here the
    normalisation of the Gaussian and the entropy of Q prevent that. Before training the correction is exactly 0, and
    the prior is a Gaussian.

    Attributes:
        network: Predicts the difference between the velocity and that of a Gaussian.
    """

    config: FlowMatchingConfig
    given: PriorInputs

    def __init__(self, config: FlowMatchingConfig, given: PriorInputs):
        super().__init__(config, given)
        features = given.driving.outputs["features"][0] if config.base == "driving" else 0
        self.network = VelocityNetwork(given.code, features, config.hidden, config.blocks)
        # Buffers follow the model's device and type; they are equal in all models, so they are not saved.
        for name, value in _fixed(config, given.code).items():
            self.register_buffer(name, value, persistent=False)

    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        density = self.condition(driving)
        divergence = kl_divergence(bounded_normal(posterior), density.base.normal).mean(dim=1)
        if self.config.posterior_entropy == "drop":
            divergence = divergence + entropy(posterior)
        return divergence + density.correction(code, *self._looks(code)) / self.given.code

    def condition(self, driving: Encoding | None) -> MatchingDensity:
        self.check_driving(driving)
        numerics = Numerics(
            steps=self.config.steps,
            probes=self.probes,
            times=self.times,
            noise=self.noise,
            surrogate=self.config.fitting == "surrogate",
        )
        if self.config.base == "standard-normal":
            base = GaussianDensity(self.zero, self.zero, broadcasts=True)
            return MatchingDensity(base, self.network, None, numerics)
        context = self.network.context(driving.features)
        return MatchingDensity(driving_gaussian(driving, "driving"), self.network, context, numerics)

    def _looks(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return times and noise of the correction: new draws in training, otherwise those of the surrogate."""
        if not self.training:
            return self.times[:, None], self.noise
        count, batch = self.config.training_pairs, code.shape[0]
        # Draws from torch's own generator, which training seeds at every step. Times are evenly spread over the batch.
        options = {"dtype": code.dtype, "device": code.device}
        even = torch.arange(batch, **options) / max(batch, 1)
        times = (even + torch.rand(count, 1, **options)) % 1
        return times, torch.randn(count, *code.shape, **options)


def _fixed(config: FlowMatchingConfig, code: int) -> dict[str, Tensor]:
    """Make the probes and the times and noise of the surrogate, which are the same for every seed of training."""
    generator = torch.Generator().manual_seed(_SEED)
    probes = torch.eye(code).expand(config.steps + 1, code, code)
    if count := config.probes_for(code):
        signs = torch.randint(0, 2, (config.steps + 1, count, code), generator=generator)
        probes = (2.0 * signs - 1) / count**0.5
    # Within each block of D the vectors are orthogonal, so that the sum of εᵀ J ε is exactly D times the trace of J.
    # Independent vectors would only estimate it, which is a large part of the surrogate's error.
    blocks = [
        torch.linalg.qr(torch.randn(code, code, generator=generator)).Q for _ in range(math.ceil(config.pairs / code))
    ]
    return {
        "zero": torch.zeros(1, code),
        "probes": probes,
        "times": (torch.arange(config.pairs) + 0.5) / config.pairs,
        "noise": code**0.5 * torch.cat(blocks)[: config.pairs, None],
    }
