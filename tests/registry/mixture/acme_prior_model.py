"""The mixture itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lipflow_core.interfaces import ConditionedPrior, LatentPrior
from lipflow_core.records import Encoding


class GlobalMixturePrior(LatentPrior):
    """p(z) = Σ_k π_k N(z; m_k, diag σ_k²) with learned π, m and σ.

    The divergence is a sample's −log p(z) less the entropy of Q, so that Q keeps its spread.
    """

    def __init__(self, config, given):
        super().__init__(config, given)
        self.logit = nn.Parameter(torch.zeros(config.components))
        self.mean = nn.Parameter(torch.randn(config.components, given.code))
        self.log_std = nn.Parameter(torch.zeros(config.components, given.code))
        self.register_buffer("started", torch.tensor(False))

    @property
    def initialized(self) -> bool:
        return bool(self.started)

    @torch.no_grad()
    def initialize(self, code: Tensor, driving: Encoding | None) -> None:
        """Put the components on the clusters of the codes (N, D)."""
        places = torch.linspace(0, len(code) - 1, self.config.components).long()
        centres = code[places.to(code.device)].clone()
        for _ in range(self.config.rounds):
            nearest = torch.cdist(code, centres).argmin(1)
            for k in nearest.unique().tolist():
                centres[k] = code[nearest == k].mean(0)
        self.mean.copy_(centres)
        self.log_std.copy_(code.std(0).clamp(min=1e-3).log().expand_as(self.log_std))
        self.started.fill_(True)

    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        entropy = posterior.log_std.sum(-1) + 0.5 * self.given.code * math.log(2 * math.pi * math.e)
        return -(self.condition(driving).log_prob(code) + entropy) / self.given.code

    def condition(self, driving: Encoding | None) -> ConditionedPrior:
        return Mixture(self.logit.log_softmax(-1), self.mean, self.log_std)


@dataclass(frozen=True)
class Mixture(ConditionedPrior):
    """One row that broadcasts.

    Args:
        log_weight: (K,).
        mean: (K, D).
        log_std: (K, D).
    """

    log_weight: Tensor
    mean: Tensor
    log_std: Tensor

    def log_prob(self, code: Tensor) -> Tensor:
        distance = (code[:, None] - self.mean) * (-self.log_std).exp()
        of_each = -(0.5 * distance.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)
        return (self.log_weight + of_each).logsumexp(-1)

    def mode(self) -> Tensor:
        """The centre of the component whose centre is the most likely."""
        return self.mean[self.log_prob(self.mean).argmax()][None]

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        kind = {"generator": generator, "dtype": self.mean.dtype, "device": self.mean.device}
        beyond = torch.rand(count, 1, **kind) > self.log_weight.exp().cumsum(-1)
        chosen = beyond.sum(-1).clamp(max=len(self.mean) - 1)
        noise = torch.randn(count, self.mean.shape[1], **kind)
        return (self.mean[chosen] + self.log_std[chosen].exp() * noise)[:, None]

    def rows(self, index: Tensor) -> Mixture:
        return self
