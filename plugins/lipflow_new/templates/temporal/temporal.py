"""Temporal prior `skeleton-name`: codes move at a steady pace."""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_core.interfaces import TemporalPrior


class Skeleton(TemporalPrior):
    """Changes of pace are independent Gaussians: z_{t+1} − 2 z_t + z_{t−1} ~ N(0, c² I); each is the middle frame's."""

    def energy(self, path: Tensor, follows: Tensor) -> Tensor:
        change = (path[2:] - 2 * path[1:-1] + path[:-2]) / self.config.change
        within = follows[2:] & follows[1:-1]
        # Before it is squared: what lies beyond a border may be NaN.
        squared = torch.where(within[:, None], change, 0).square().mean(dim=1)
        pad = squared.new_zeros(1)
        return 0.5 * torch.cat([pad, squared, pad])[: len(path)]
