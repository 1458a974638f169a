"""The flow-matching prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from lipflow_core.densities import GaussianDensity, bounded_normal, driving_gaussian, entropy
from lipflow_core.interfaces import LatentPrior
from lipflow_core.plans import PriorInputs
from lipflow_core.records import Encoding
from lipflow_matching.config import FlowMatchingConfig
from lipflow_matching.density import MatchingDensity, Numerics
from lipflow_matching.network import VelocityNetwork

_SEED = 0


class FlowMatchingPrior(LatentPrior):
    r"""A Gaussian refined by flow matching (Lipman et al., "Flow matching for generative modeling", 2023).

    The divergence is KL(Q‖N(μ, σ)) / D in closed form plus what flow matching adds to it, a bound on KL(Q‖p) / D:

        KL(Q‖p) ≤ KL(Q‖N(μ, σ)) + E_{z ~ Q} correction(z),

    with `correction` as in `lipflow_matching.density.MatchingDensity`. Its gradients reach Q, P and the velocity alike
    (as in Vahdat et al., "Score-based generative modeling in latent space", 2021). Flow matching's plain regression
    would not do for Q and P: it is smallest where all codes, or base and codes, shrink to a point, as then every
    velocity is known. Here the Gaussian's normalisation and Q's entropy stand against that. At first the velocity is
    the Gaussian's own, the correction is 0 without any noise, and the prior is `kl`.

    Attributes:
        network: What the velocity has beyond that of a Gaussian.
    """

    config: FlowMatchingConfig
    given: PriorInputs

    def __init__(self, config: FlowMatchingConfig, given: PriorInputs):
        super().__init__(config, given)
        features = given.driving.outputs["features"][0] if config.base == "driving" else 0
        self.network = VelocityNetwork(given.code, features, config.hidden, config.blocks)
        # Buffers so that they follow the model's device and dtype; the same in every model, so not saved.
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
        """Times and noise of the correction: drawn anew in training, otherwise those of the surrogate."""
        if not self.training:
            return self.times[:, None], self.noise
        count, batch = self.config.training_pairs, code.shape[0]
        # From torch's own generator, which training seeds at every step. Times are spread evenly over the batch.
        options = {"dtype": code.dtype, "device": code.device}
        even = torch.arange(batch, **options) / max(batch, 1)
        times = (even + torch.rand(count, 1, **options)) % 1
        return times, torch.randn(count, *code.shape, **options)


def _fixed(config: FlowMatchingConfig, code: int) -> dict[str, Tensor]:
    """Probes, and the surrogate's times and noise; the same for every seed."""
    generator = torch.Generator().manual_seed(_SEED)
    probes = torch.eye(code).expand(config.steps + 1, code, code)
    if count := config.probes_for(code):
        signs = torch.randint(0, 2, (config.steps + 1, count, code), generator=generator)
        probes = (2.0 * signs - 1) / count**0.5
    # Orthogonal within each block of D: there the sum of εᵀ J ε is D times J's trace, where that of independent vectors
    # only estimates it, which is much of the surrogate's error.
    blocks = [
        torch.linalg.qr(torch.randn(code, code, generator=generator)).Q for _ in range(math.ceil(config.pairs / code))
    ]
    return {
        "zero": torch.zeros(1, code),
        "probes": probes,
        "times": (torch.arange(config.pairs) + 0.5) / config.pairs,
        "noise": code**0.5 * torch.cat(blocks)[: config.pairs, None],
    }
