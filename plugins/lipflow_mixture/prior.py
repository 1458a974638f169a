"""The prior that is a conditional Gaussian mixture."""

from __future__ import annotations

import torch
from einops import rearrange
from lipflow_kit.densities import Density, entropy
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from lipflow_core.densities import bounded_log_std, bounded_normal
from lipflow_core.interfaces import LatentPrior
from lipflow_core.plans import PriorInputs
from lipflow_core.records import Encoding, Residuals
from lipflow_mixture.config import MixtureConfig


class MixtureDensity(Density):
    """A Gaussian mixture p(z) = Σ_k π_k N(z; μ_k, σ_k).

    Args:
        log_weights: log π, (B, K).
        mean: μ, (B, K, D).
        log_std: log σ, (B, K, D).
    """

    def __init__(self, log_weights: Tensor, mean: Tensor, log_std: Tensor):
        self.log_weights = log_weights
        self.mean = mean
        self.log_std = log_std
        self.normal = Normal(mean, log_std.exp(), validate_args=False)

    def log_prob(self, code: Tensor) -> Tensor:
        within = self.normal.log_prob(rearrange(code, "b d -> b 1 d")).sum(dim=2)
        return (self.log_weights + within).logsumexp(dim=1)

    def residuals(self, code: Tensor) -> Residuals:
        """Compute the residuals of every component, weighted by its share in the density at each code."""
        offsets = rearrange(code, "b d -> b 1 d") - self.mean
        shares = (self.log_weights + self.normal.log_prob(rearrange(code, "b d -> b 1 d")).sum(dim=2)).softmax(dim=1)
        values = offsets / self.normal.stddev
        weights = (0.5 * shares[..., None]).expand_as(values)
        return Residuals(values.flatten(1), weights.flatten(1))

    def mode(self) -> Tensor:
        """Return the component mean of highest density, the mode if components lie far apart or all coincide."""
        components = self.mean.shape[1]
        heights = torch.stack([self.log_prob(self.mean[:, k]) for k in range(components)], dim=1)
        return self._of_component(heights.argmax(dim=1)[None])[0][0]

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        options = {"dtype": self.mean.dtype, "device": self.mean.device, "generator": generator}
        batch, components, size = self.mean.shape
        below = self.log_weights.exp().cumsum(dim=1)[:, :-1]
        chosen = (torch.rand(count, batch, 1, **options) >= below).sum(dim=2).clamp_max(components - 1)
        mean, std = self._of_component(chosen)
        return mean + std * torch.randn(count, batch, size, **options)

    def _of_component(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations (N, B, D) of the components `chosen` (N, B)."""
        rows = torch.arange(self.mean.shape[0], device=chosen.device)
        return self.mean[rows, chosen], self.normal.stddev[rows, chosen]

    def rows(self, index: Tensor) -> MixtureDensity:
        return MixtureDensity(self.log_weights[index], self.mean[index], self.log_std[index])


class MixturePrior(LatentPrior):
    """Puts Σ_k π_k N(μ_k, σ_k) over the code, with components predicted from the driving features h.

    μ_k = μ^p + σ^p ⊙ a_k(h), log σ_k = log σ^p + b_k(h), π = softmax(c(h)), with a, b and c linear. Before training all
    weights are equal and all σ_k are σ^p. The means differ a little, so that components can separate.
    """

    config: MixtureConfig
    given: PriorInputs

    def __init__(self, config: MixtureConfig, given: PriorInputs):
        super().__init__(config, given)
        features = given.driving.outputs["features"][0]
        self.offsets = nn.Linear(features, config.components * given.code)
        self.log_scales = nn.Linear(features, config.components * given.code)
        self.logits = nn.Linear(features, config.components)
        for head in (self.offsets, self.log_scales, self.logits):
            nn.init.normal_(head.weight, std=1e-3)
            nn.init.zeros_(head.bias)
        if config.components > 1:
            nn.init.normal_(self.offsets.bias, std=config.spread)

    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        density = self.condition(driving)
        if self.config.divergence == "sample":
            return -density.log_prob(code) / self.given.code - entropy(posterior)
        # KL(q ‖ Σ_k π_k p_k) ≤ −log Σ_k π_k exp(−KL(q ‖ p_k)), Hershey and Olsen 2007 for a single Gaussian q.
        normal = bounded_normal(posterior)
        normal = Normal(normal.mean[:, None], normal.stddev[:, None], validate_args=False)
        to_each = kl_divergence(normal, density.normal).sum(dim=2)
        return -(density.log_weights - to_each).logsumexp(dim=1) / self.given.code

    def condition(self, driving: Encoding | None) -> MixtureDensity:
        self.check_driving(driving)
        shape = (self.config.components, self.given.code)
        log_std = bounded_log_std(driving.log_std)[:, None]
        offsets = self.offsets(driving.features).unflatten(1, shape)
        mean = driving.mean[:, None] + log_std.exp() * offsets
        log_std = bounded_log_std(log_std + self.log_scales(driving.features).unflatten(1, shape))
        return MixtureDensity(self.logits(driving.features).log_softmax(dim=1), mean, log_std)
