"""Computes PSNR and SSIM of masked pictures; tests compare them with scikit-image.

Libraries differ in these by more than the systems differ, so the definitions are part of every report.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import conv2d

from lipflow_metrics.config import SSIM_WINDOW as _WINDOW

_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2


def wholly_shown(mask: Tensor) -> Tensor:
    """Return 1 for pixels whose mask is 1, and 0 for all others, partly masked ones included; keeps the dtype."""
    return (mask >= 1).to(mask.dtype)


def psnr(image: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the peak signal-to-noise ratio for colours in [0, 1].

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
    """Compute the structural similarity (Wang et al., 2004) with Gaussian weights, for colours in [0, 1].

    Args:
        image: (B, C, H, W), at least 11 pixels high and wide.
        target: (B, C, H, W).
        mask: (B, H, W) in [0, 1], weights of the pixels that the map is averaged over; all 1 if None.

    Returns:
        (B,) in [-1, 1]; NaN where the mask is empty more than 5 pixels from the border.
    """
    _, channels, height, width = image.shape
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
    return _mean(rearrange(similarity, "(b c) 1 h w -> b c h w", c=channels).mean(dim=1), inner)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """(B, H, W) → (B,), weighted by the mask."""
    if mask is None:
        return values.mean(dim=(1, 2))
    return (values * mask).sum(dim=(1, 2)) / mask.sum(dim=(1, 2))
