"""Wrong objectives."""

from __future__ import annotations

from dataclasses import replace

from lipflow_objectives.geometry import GeometryObjective
from lipflow_objectives.photometric import PhotometricObjective


class NeverEmpty(GeometryObjective):
    def loss(self, state, target):
        if len(state.code) == 0:
            raise ValueError("no samples")
        return super().loss(state, target)


class Leaking(GeometryObjective):
    def loss(self, state, target):
        loss = super().loss(state, target)
        return loss + 0.1 * loss.mean()


class Opportunist(GeometryObjective):
    """Takes the pictures too where there are some."""

    def loss(self, state, target):
        loss = super().loss(state, target)
        for rendering in state.renderings.values():
            loss = loss + rendering.image.unflatten(0, (len(loss), -1)).flatten(1).square().mean(1)
        return loss


class Double(GeometryObjective):
    def loss(self, state, target):
        return super().loss(state, target).double()


class Sideways(PhotometricObjective):
    """Sends a gradient to the vertices, which are there since pictures are drawn."""

    def loss(self, state, target):
        return super().loss(state, target) + 0 * state.face.vertices.sum(dim=(1, 2))


class Weighing(GeometryObjective):
    def loss(self, state, target):
        return self.config.weight * super().loss(state, target)


class Halved(GeometryObjective):
    def residuals(self, state, target):
        residuals = super().residuals(state, target)
        return replace(residuals, weights=residuals.weights / 2)
