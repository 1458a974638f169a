"""Objective `mouth-photometric`."""

from __future__ import annotations

import torch
from einops import einsum, reduce
from lipflow_kit.headset import estimate_anchors
from torch import Tensor

from lipflow_core.interfaces import Objective, State
from lipflow_core.records import Frame, Rendering, Template, Views, luminance

SCALE = 0.1
"""Unit of a pixel's residual, an intensity in [0, 1]: that of the shipped objective `photometric`."""


class MouthPhotometricObjective(Objective):
    """Mean squared error of the pixels, weighted by how near to the mouth they show the surface.

    The weight of a vertex is exp(−d² / 2r²), where d is its distance to the mouth on the template's mean mesh, so that
    lips keep their weight however they move. A pixel interpolates it, and 0 is the weight of the background. Weights
    carry no gradient: showing less of the mouth is no way to lower the loss.
    """

    def loss(self, state: State, target: Frame) -> Tensor:
        """Compare the pictures of the target's cameras; (B,)."""
        name = self.config.target or self.given.view
        observed: Views = target[name]
        rendering = state.renderings[name]
        image = rendering.image if observed.images.shape[2] == 3 else luminance(rendering.image)
        views = observed.images.shape[:2]
        residual = (image.unflatten(0, views) - observed.images) / SCALE
        error = reduce(residual.square(), "b n c h w -> b n h w", "mean")
        weight = self.nearness(rendering, state.template).unflatten(0, views) * observed.mask.square()
        total = reduce(weight, "b n h w -> b", "sum")
        return reduce(weight * error, "b n h w -> b", "sum") / total.clamp(min=1e-6)

    @torch.no_grad()
    def nearness(self, rendering: Rendering, template: Template) -> Tensor:
        """Weigh each pixel of P pictures by the mouth, (P, H, W) in [0, 1]."""
        mean = template.vertices_mean
        mouth = torch.from_numpy(estimate_anchors(mean.cpu().double().numpy()).mouth).to(mean)
        of_vertex = (-(mean - mouth).square().sum(dim=1) / (2 * self.config.radius**2)).exp()
        corners = of_vertex[template.topology.triangles[rendering.triangle.clamp(min=0)]]
        return einsum(corners, rendering.barycentric, "p h w corner, p corner h w -> p h w")
