"""Wrong metrics."""

from __future__ import annotations

import torch
from lipflow_keypoint.metric import KeypointError
from lipflow_metrics.metrics import Geom


class Global(Geom):
    def score(self, state, target):
        torch.rand(1)
        return super().score(state, target)


class Hopeful(Geom):
    def score(self, state, target):
        return super().score(state, target) - 1e-3 * state.prior.log_prob(state.code)


class Polite(Geom):
    def score(self, state, target):
        return super().score(state, target).nan_to_num(0)


class Certain(KeypointError):
    """Without a visible keypoint the error is 0."""

    def score(self, state, target):
        score = super().score(state, target)
        return torch.where(target[self.config.target].visible.sum(1) == 0, 0, score)
