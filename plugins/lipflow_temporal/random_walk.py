"""Temporal prior `random-walk`."""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_core.interfaces import TemporalPrior
from lipflow_temporal.config import RandomWalkConfig


class RandomWalk(TemporalPrior):
    """Steps between consecutive frames are independent Gaussians: u_t − u_{t−1} ~ N(0, s² I).

    The energy of a run is Σ_t ½ ‖(u_t − u_{t−1}) / s‖² / D. Each step counts half for either of its two frames.
    """

    config: RandomWalkConfig

    def energy(self, path: Tensor, follows: Tensor) -> Tensor:
        step = (path[1:] - path[:-1]) / self.config.step
        # A step across a border may lead to or from anything, so it is left out before it is squared.
        squared = torch.where(follows[1:, None], step, 0).square().mean(dim=1)
        pad = squared.new_zeros(1)
        return 0.25 * (torch.cat([pad, squared]) + torch.cat([squared, pad]))[: len(path)]
