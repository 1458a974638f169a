"""Objective `photometric`: the error of rendered pictures against the target's, over the target's mask."""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from torch import Tensor

from lipflow_core.interfaces import Objective, State
from lipflow_core.records import Frame, Residuals, Views, luminance

CHARBONNIER_EPSILON = 0.1
SMALLEST_RESIDUAL = 1e-2
MIN_VARIANCE = 1e-6
GAIN_RANGE = (0.25, 4.0)


class PhotometricObjective(Objective):
    """Mean error over the pixels of the target's masks and channels: Σ_vx W_v(x)² ρ(Î_v(x) − I_v(x)) / Σ_vx W_v(x)².

    The mask's weights are squared, as by training's ‖(Î − I) ⊙ W‖². The mask is the target's and does not change during
    a fit, so that no code lowers the loss by showing less of the face. Grey targets are compared with the rendering's
    luminance. A row with empty masks has loss 0.
    """

    def loss(self, state: State, target: Frame) -> Tensor:
        residual, weight, total = self._compare(state, target)
        return rearrange(self.penalty(residual) * weight, "b n c h w -> b (n c h w)").sum(dim=-1) / total

    def residuals(self, state: State, target: Frame) -> Residuals:
        residual, weight, total = self._compare(state, target)
        match self.config.error:
            case "l1":
                weight = weight / (2 * residual.abs().clamp(min=SMALLEST_RESIDUAL))
            case "charbonnier":
                weight = weight / (2 * (residual.square() + CHARBONNIER_EPSILON**2).sqrt())
            case _:
                weight = weight.expand_as(residual)
        return Residuals(residual.flatten(1), weight.flatten(1) / total[:, None])

    def _compare(self, state: State, target: Frame) -> tuple[Tensor, Tensor, Tensor]:
        """Return residuals (B, N, C, H, W), their weights (B, N, 1, H, W), and the weights' sum (B,) over channels."""
        name = self.config.target or self.given.view
        observed: Views = target[name]
        rendering = state.renderings[name]
        samples, views, colours = observed.images.shape[:3]
        image = rendering.image if colours == 3 else luminance(rendering.image)
        image = image.unflatten(0, (samples, views))
        mask = observed.mask.square()
        weight = mask[:, :, None]
        if self.config.uncovered == "ignore" or self.config.exposure == "affine":
            # Detached: how much of the face is compared must not itself be a way to lower the loss.
            counted = mask * rendering.coverage.detach().unflatten(0, (samples, views)).clamp(0, 1)
            if self.config.exposure == "affine":
                gain, offset = affine_exposure(image.detach(), observed.images, counted[:, :, None])
                image = gain * image + offset
            if self.config.uncovered == "ignore":
                weight = counted[:, :, None]
        pixels = rearrange(weight, "b n one h w -> b (n one h w)").sum(dim=-1)
        return (image - observed.images) / self.config.scale, weight, (pixels * colours).clamp(min=1e-6)

    def penalty(self, residual: Tensor) -> Tensor:
        """Compute the penalty ρ of each residual."""
        match self.config.error:
            case "l1":
                return residual.abs()
            case "charbonnier":
                return (residual.square() + CHARBONNIER_EPSILON**2).sqrt() - CHARBONNIER_EPSILON
        return residual.square()


def affine_exposure(image: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Fit gain a and offset b of each picture, which minimise Σ weight (a·image + b − target)², with a in [1/4, 4].

    Least squares in closed form. a and b carry no gradient: at the minimum, the error does not depend on them to first
    order.

    Args:
        image: (B, N, C, H, W) rendered pictures.
        target: (B, N, C, H, W) observed pictures.
        weight: (B, N, 1, H, W).

    Returns:
        Gain and offset, (B, N, 1, 1, 1) each; 1 and 0 where the weight is zero everywhere.
    """
    weight = weight.expand_as(image)
    total = _total(weight)

    def mean(values: Tensor) -> Tensor:
        return _total(values * weight) / total.clamp(min=1e-6)

    image_mean, target_mean = mean(image), mean(target)
    variance = mean((image - image_mean).square())
    covariance = mean((image - image_mean) * (target - target_mean))
    # A small prior on a gain of 1 decides the gain of a picture without contrast.
    gain = ((covariance + MIN_VARIANCE) / (variance + MIN_VARIANCE)).clamp(*GAIN_RANGE)
    offset = torch.where(total > 0, target_mean - gain * image_mean, torch.zeros_like(gain))
    return torch.where(total > 0, gain, torch.ones_like(gain)), offset


def _total(values: Tensor) -> Tensor:
    return reduce(values, "b n c h w -> b n 1 1 1", "sum")
