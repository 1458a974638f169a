"""Metrics of pictures, vertices, sequences and poses; their definitions are in `config`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange, reduce
from torch import Tensor

from lipflow_core.interfaces import Metric, State
from lipflow_core.records import Frame, luminance
from lipflow_metrics.image_quality import psnr, ssim, wholly_shown


class _PictureMetric(Metric):
    compare: Callable[[Tensor, Tensor, Tensor], Tensor]

    def score(self, state: State, target: Frame) -> Tensor:
        seen = target[self.given.view]
        _, count, colours = seen.images.shape[:3]
        picture = state.renderings[self.given.view].image.clamp(0, 1)
        scores = type(self).compare(
            picture if colours == 3 else luminance(picture),
            rearrange(seen.images, "b n c h w -> (b n) c h w"),
            rearrange(wholly_shown(seen.mask), "b n h w -> (b n) h w"),
        )
        return reduce(scores, "(b n) -> b", "mean", n=count)


class Psnr(_PictureMetric):
    """Peak signal-to-noise ratio in dB, averaged over the frame's pictures."""

    compare = staticmethod(psnr)


class Ssim(_PictureMetric):
    """Structural similarity, averaged over the frame's pictures."""

    compare = staticmethod(ssim)


class Geom(Metric):
    """Mean squared error of standardised vertices: Σ_vi (M̂_vi − M_vi)² / (3 V s²)."""

    def score(self, state: State, target: Frame) -> Tensor:
        error = (state.face.vertices - target[self.given.roles.surface].vertices) / state.template.vertices_scale
        return reduce(error.square(), "b v xyz -> b", "mean")


class Millimetres(Metric):
    """Mean distance of vertices in millimetres."""

    def score(self, state: State, target: Frame) -> Tensor:
        return (state.face.vertices - target[self.given.roles.surface].vertices).norm(dim=2).mean(dim=1)


class Jitter(Metric):
    """Mean second difference of vertices: Σ_v ‖v(n−1) − 2 v(n) + v(n+1)‖ / V, millimetres."""

    def score(self, state: State, target: Frame) -> Tensor:
        second = state.neighbours.sum(dim=1) - 2 * state.face.vertices
        return second.norm(dim=2).mean(dim=1)


class PoseDegrees(Metric):
    """Angle of the rotation that the driving cameras are off by, degrees."""

    def score(self, state: State, target: Frame) -> Tensor:
        rotation = state.pose[..., :3]
        # By half the angle: the arc cosine of a trace loses small angles to rounding.
        half = (rotation - torch.eye(3).to(rotation)).flatten(1).norm(dim=1) / 8**0.5
        return (2 * torch.asin(half.clamp(max=1))).rad2deg()


class PoseMillimetres(Metric):
    """Distance by which the driving cameras' pose displaces the head's origin, millimetres."""

    def score(self, state: State, target: Frame) -> Tensor:
        return state.pose[..., 3].norm(dim=1)
