"""Makes pictures to look at: PNG files, strips of several views, and keypoints drawn as dots."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor

from lipflow_core.png import encode_png
from lipflow_core.records import Frame, Keypoints, Views


def png(picture: Tensor) -> bytes:
    """Encode a picture (3 or 1, H, W) in [0, 1] as PNG; values outside are clamped."""
    levels = (picture.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return encode_png(rearrange(levels, "c h w -> h w c").contiguous().numpy())


def strip(pictures: Tensor) -> Tensor:
    """Place pictures of one frame side by side; (N, C, H, W) → (C, H, N·W)."""
    return rearrange(pictures, "n c h w -> c h (n w)")


def observed_picture(frame: Frame, name: str, row: int) -> Tensor | None:
    """Show one frame's observation as a picture; None if this kind of observation can't be shown.

    Args:
        frame: B frames.
        name: Name of an observation. `Views` are shown as a strip of all views, `Keypoints` as white dots on black.
        row: Number of the frame in the batch.

    Returns:
        The picture (3 or 1, H, W) in [0, 1].
    """
    match frame.observations.get(name):
        case Views(images=images):
            return strip(images[row])
        case Keypoints(points=points, visible=visible, camera=camera):
            return _dots(points[row][visible[row] > 0.5], camera.height, camera.width)
    return None


def _dots(points: Tensor, height: int, width: int, side: int = 192) -> Tensor:
    """Draw dots of 3×3 pixels on a canvas of about `side` rows; points (K, 2) in pixels of a height × width picture."""
    scale = max(1, round(side / height))
    canvas = points.new_zeros(1, height * scale, width * scale)
    offsets = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2)).to(points.device)
    pixels = repeat((points * scale).round().long(), "k xy -> (k o) xy", o=9) + offsets.repeat(len(points), 1)
    inside = ((pixels >= 0) & (pixels < pixels.new_tensor([width, height]) * scale)).all(dim=1)
    pixels = pixels[inside]
    canvas[0, pixels[:, 1], pixels[:, 0]] = 1.0
    return canvas
