"""Metric `skeleton-name`: the distance within which most vertices lie from their tracked places."""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_core.interfaces import Metric, State
from lipflow_core.records import Frame


class Skeleton(Metric):
    """Quantile over vertices of the distance ‖v − v*‖ of decoded vertices v to tracked ones v*, in millimetres."""

    def score(self, state: State, target: Frame) -> Tensor:
        difference = state.face.vertices - target[self.given.roles.surface].vertices
        distance = torch.linalg.vector_norm(difference, dim=-1).sort(dim=-1).values
        return distance[:, round(self.config.share * (distance.shape[1] - 1))]
