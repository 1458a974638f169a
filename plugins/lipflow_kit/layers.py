"""Layers that plugins share."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

HEAD_SCALE = 0.1
"""Standard deviation of a Gaussian head's first outputs over that of its features. Without an activation after it, this
alone keeps σ within a few per cent of 1 and the first latent terms finite; the paper's text leaves it open."""


def gaussian_head(features: int, code: int) -> nn.Linear:
    """A linear layer for μ or log σ of a code: (B, features) → (B, code), at first `HEAD_SCALE` of its scale."""
    layer = nn.Linear(features, code)
    nn.init.normal_(layer.weight, std=HEAD_SCALE / math.sqrt(features))
    nn.init.zeros_(layer.bias)
    return layer


class SteadyBatchNorm(nn.BatchNorm1d):
    """Batch norm that takes batches of 0 and 1 in training too, by its running statistics: they have no variance."""

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and inputs.shape[0] < 2:
            return F.batch_norm(inputs, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(inputs)
