"""PSNR and SSIM of masked pictures, and the error of vertices: small, ours, and held to scikit-image by tests.

Libraries disagree on these by more than the gaps between systems, so that the definitions are part of every report.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import conv2d

from lipflow_core.records import Template

DEFINITIONS = {
    "psnr": "PSNR: in dB, 10 log10(1 / e) for colours in [0, 1], where e is the squared error averaged over the "
    "channels and over the pixels that the picture's mask shows wholly; averaged over pictures, not over pixels of all "
    "pictures. In a partly masked pixel the picture mixes face and background, which hard edges cannot.",
    "ssim": "SSIM: structural similarity with a Gaussian window of 11 pixels (σ 1.5, no padding) and constants 0.01² "
    "and 0.03², computed on whole pictures for each channel; its map is averaged over the same pixels. The "
    "background is not blanked.",
    "geom": "Geom: squared error of vertices standardised by the subject's mean mesh and one scale, averaged over "
    "vertices and axes.",
    "millimetres": "mm: distance between fitted and tracked vertices, averaged over vertices.",
    "distance": "Travelled: Euclidean distance between the fitted code and the code that fitting started from, divided "
    "by the root mean square distance of the same frames' posterior codes from their mean.",
    "nll": "NLL: −log p of Q's code under the prior that fits, in nats per dimension of the code; of Q's mean code, "
    "and averaged over samples of Q. Standardised, the latter with codes in units of their spread over all frames: "
    "1.42 is then what a prior gives that knows no more than mean and spread of each dimension.",
    "coverage": "Coverage: how many of Q's samples lie in the prior's credible region of a nominal level, by their "
    "rank among draws of the prior; in each dimension, the central interval of the draws; joint, the region of highest "
    "density. A prior that is right covers as much as its level says, an overconfident one less.",
    "width": "Width: standard deviation of the prior given a frame, over that of Q's codes of all frames, as a "
    "geometric mean over dimensions and frames; 1 knows no more than how codes are spread.",
}
"""Metric → what it is, as reports print it."""

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def wholly_shown(mask: Tensor) -> Tensor:
    """1 for the pixels that a mask shows wholly, 0 for all others, partly masked ones included; of the mask's type."""
    return (mask >= 1).to(mask.dtype)


def psnr(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio for colours in [0, 1].

    Args:
        image: (B, C, H, W).
        target: (B, C, H, W).
        mask: (B, H, W) in [0, 1], weights of the pixels; all 1 if None.

    Returns:
        (B,) dB; infinite where the pictures are equal, NaN where the mask is empty.
    """
    error = (image - target).square().mean(dim=1)
    return -10 * torch.log10(_mean(error, mask))


def ssim(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity (Wang et al., 2004) with Gaussian weights, for colours in [0, 1].

    Args:
        image: (B, C, H, W), at least 11 pixels high and wide.
        target: (B, C, H, W).
        mask: (B, H, W) in [0, 1], weights of the pixels that the map is averaged over; all 1 if None.

    Returns:
        (B,) in [-1, 1]; NaN where the mask is empty more than 5 pixels from the border.
    """
    batch, _, height, width = image.shape
    if min(height, width) < _WINDOW:
        raise ValueError(f"SSIM needs pictures of at least {_WINDOW}×{_WINDOW} pixels, got {height}×{width}")
    x = rearrange(image, "b c h w -> (b c) 1 h w")
    y = rearrange(target, "b c h w -> (b c) 1 h w")
    moments = torch.cat([x, y, x * x, y * y, x * y])
    position = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    weights = torch.exp(-0.5 * (position / _SIGMA).square())
    weights = weights / weights.sum()
    moments = conv2d(conv2d(moments, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    mean_x, mean_y, xx, yy, xy = moments.chunk(5)
    similarity = (2 * mean_x * mean_y + _C1) * (2 * (xy - mean_x * mean_y) + _C2)
    similarity = similarity / (
        (mean_x.square() + mean_y.square() + _C1) * (xx - mean_x.square() + yy - mean_y.square() + _C2)
    )
    border = _WINDOW // 2
    inner = None if mask is None else mask[:, border : height - border, border : width - border]
    return _mean(rearrange(similarity, "(b c) 1 h w -> b c h w", b=batch).mean(dim=1), inner)


def geometry_error(vertices: Tensor, target: Tensor, template: Template) -> Tensor:
    """Mean squared error of standardised vertices; both (B, V, 3) millimetres → (B,)."""
    return ((vertices - target) / template.vertices_scale).square().mean(dim=(1, 2))


def vertex_distance(vertices: Tensor, target: Tensor) -> Tensor:
    """Mean Euclidean distance of vertices; both (B, V, 3) millimetres → (B,) millimetres."""
    return (vertices - target).norm(dim=2).mean(dim=1)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """(B, H, W) → (B,), weighted by the mask."""
    if mask is None:
        return values.mean(dim=(1, 2))
    return (values * mask).sum(dim=(1, 2)) / mask.sum(dim=(1, 2))
