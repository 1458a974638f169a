"""Augments headset pictures in training by random light, noise and camera shifts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from lipflow_core.records import Views
from lipflow_hmc.config import PictureAugmentation


def augment_pictures(views: Views, options: PictureAugmentation, streams: Sequence[np.random.Generator]) -> Views:
    """Compute image · gain + offset + noise, after a shift by whole pixels that the cameras' principal points follow.

    Args:
        views: B samples on the CPU.
        options: Sizes of the random changes.
        streams: A random stream for each sample.
    """
    _, count, _, height, width = views.images.shape
    # Everything is drawn in any case, so that switching one change off leaves the others unchanged.
    gain = _normal(streams, count).mul(options.gain).exp()
    offset = _normal(streams, count).mul(options.offset)
    shift = _stack([s.uniform(-options.shift, options.shift, (count, 2)).astype(np.float32) for s in streams])
    images, camera, mask = views.images, views.camera, views.mask
    if options.shift > 0:
        pixels = torch.round(shift * torch.tensor([width, height])).long()
        images, mask = _shifted(images, pixels), _shifted(mask.unsqueeze(2), pixels).squeeze(2)
        intrinsics = camera.intrinsics.clone()
        intrinsics[..., :2, 2] += pixels
        camera = replace(camera, intrinsics=intrinsics)
    if options.gain > 0 or options.offset > 0:
        images = images * rearrange(gain, "b n -> b n 1 1 1") + rearrange(offset, "b n -> b n 1 1 1")
    if options.noise > 0:
        images = images + options.noise * _normal(streams, *images.shape[1:])
    if images is not views.images:
        images = images.clamp(0, 1).to(views.images.dtype)
    return Views(images, camera, mask)


def _shifted(images: Tensor, pixels: Tensor) -> Tensor:
    """Move images (B, N, C, H, W) right and down by `pixels` (B, N, 2); the border is repeated into the gap."""
    batch, count, _, height, width = images.shape
    columns = (torch.arange(width) - pixels[..., :1]).clamp(0, width - 1)
    rows = (torch.arange(height) - pixels[..., 1:]).clamp(0, height - 1)
    sample = rearrange(torch.arange(batch), "b -> b 1 1 1")
    view = rearrange(torch.arange(count), "n -> 1 n 1 1")
    # The indexed axes come first in the result, the channels between them last.
    picked = images[sample, view, :, rearrange(rows, "b n h -> b n h 1"), rearrange(columns, "b n w -> b n 1 w")]
    return rearrange(picked, "b n h w c -> b n c h w")


def _normal(streams: Sequence[np.random.Generator], *shape: int) -> Tensor:
    return _stack([s.standard_normal(shape, dtype=np.float32) for s in streams])


def _stack(arrays: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
