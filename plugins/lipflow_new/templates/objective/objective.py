"""Objective `skeleton-name`: distance of the decoded mesh to the tracked one, robust to outliers."""

from __future__ import annotations

from torch import Tensor

from lipflow_core.interfaces import Objective, State
from lipflow_core.records import Frame


class Skeleton(Objective):
    """Mean over vertices of √(1 + d²/τ²) − 1, with d the distance in millimetres and τ the tolerance."""

    def loss(self, state: State, target: Frame) -> Tensor:
        tracked = target[self.given.roles.surface].vertices
        difference = (state.face.vertices - tracked) / self.config.tolerance
        return ((1 + difference.square().sum(-1)).sqrt() - 1).mean(-1)
