"""Objective `geometry`: the squared error of decoded vertices against the tracked mesh."""

from __future__ import annotations

from einops import reduce
from torch import Tensor

from lipflow_core.interfaces import Objective, State
from lipflow_core.records import Frame, Residuals


class GeometryObjective(Objective):
    """Mean squared error of vertices, standardised by the template's scale: Σ_vi (M̂_vi − M_vi)² / (3 V s²)."""

    def loss(self, state: State, target: Frame) -> Tensor:
        return reduce(self._error(state, target).square(), "b v xyz -> b", "mean")

    def residuals(self, state: State, target: Frame) -> Residuals:
        error = self._error(state, target).flatten(1)
        return Residuals(error, error.new_full((1, 1), 1 / error.shape[1]))

    def _error(self, state: State, target: Frame) -> Tensor:
        wanted = target[self.given.roles.surface].vertices
        return (state.face.vertices - wanted) / state.template.vertices_scale
