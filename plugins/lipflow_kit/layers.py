"""Network layers that several plugins share."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

HEAD_SCALE = 0.1
"""Ratio of the standard deviation of a Gaussian head's initial outputs to that of its features.

No activation follows the head, so this alone keeps σ within a few per cent of 1 and the first latent terms finite. The
paper does not say how heads are initialised."""


def gaussian_head(features: int, code: int) -> nn.Linear:
    """Make the linear layer that predicts μ or log σ of a code, (B, features) → (B, code), with small weights."""
    layer = nn.Linear(features, code)
    nn.init.normal_(layer.weight, std=HEAD_SCALE / math.sqrt(features))
    nn.init.zeros_(layer.bias)
    return layer


def channels_last(maps: Tensor) -> Tensor:
    """Lay maps (B, C, H, W) out with the channels last, as convolutions read them fastest.

    Unlike `Tensor.contiguous(memory_format=…)` it may be vectorised by `torch.func.vmap`.
    """
    return maps.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


class SteadyBatchNorm(nn.BatchNorm1d):
    """Normalise batches as `BatchNorm1d` does, but batches of fewer than two rows by the running statistics.

    Such batches have no variance.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and inputs.shape[0] < 2:
            return F.batch_norm(inputs, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(inputs)
