"""Exact conversions between the conventions of this project and those of DRTK and nvdiffrast.

In this project a vertex x is projected to h = K [R|t] (x, 1) = (X, Y, W), W being its depth in millimetres, and falls
on pixel (X / W, Y / W). Pixel centres lie at integers. Row 0 is the top row of pictures and of textures, where v = 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_core.records import Camera


def seen_points(vertices: Tensor, camera: Camera) -> Tensor:
    """Project vertices (B, V, 3) to h = (X, Y, W): (B, V, 3) float64.

    In double precision for any inputs: rounding here would shift the whole picture by up to 1e-4 px.
    """
    projection = (camera.intrinsics.double() @ camera.extrinsics.double()).expand(len(vertices), 3, 4)
    return torch.einsum("bij,bvj->bvi", projection[..., :3], vertices.double()) + projection[:, None, :, 3]


def drtk_points(seen: Tensor, near: float) -> Tensor:
    """Convert h (B, V, 3) to DRTK's points: column, row and depth.

    DRTK's pixel centres lie at integers and its rows run down, as here. It draws no triangle that has a corner of
    depth ≤ 0, so corners nearer than `near` get depth -1; they pass no gradient.
    """
    ahead = seen[..., 2:] >= near
    depth = torch.where(ahead, seen[..., 2:], 1.0)
    return torch.where(ahead, torch.cat([seen[..., :2] / depth, depth], dim=-1), seen.new_tensor([0.0, 0.0, -1.0]))


def depth_range(depth: Tensor, near: float) -> tuple[Tensor, Tensor]:
    """Choose the tightest near and far planes that cut away only surface nearer than `near`.

    They are tight because float32 holds z/w in [-1, 1] with the same error everywhere: between 1 mm and infinity it
    could not distinguish a nose from the cheek behind it.

    Args:
        depth: (B, V) of the vertices.
        near: The near plane in millimetres.

    Returns:
        Depths of the near and the far plane, (B, 1) each.
    """
    first = (0.99 * depth.amin(dim=1, keepdim=True)).clamp(min=near)
    last = (1.01 * depth.amax(dim=1, keepdim=True)).maximum(1.01 * first)
    return first, last


def clip_points(seen: Tensor, near: float, height: int, width: int) -> Tensor:
    """Convert h (B, V, 3) to nvdiffrast's clip space: (B, V, 4).

    nvdiffrast's pixel i has its centre at i + ½ in a picture that spans -1 … 1, so x_clip / w = (2(X/W + ½) - width)
    / width, and y likewise. Row 0 of OpenGL is the lowest one. Here y_clip grows downwards like our rows, so that
    row 0 is the top one and neither points nor pictures need to be flipped. z passes no gradient, as in nvdiffrast.
    """
    x, y, w = seen.unbind(dim=-1)
    first, last = depth_range(w.detach(), near)
    z = ((last + first) * w.detach() - 2 * last * first) / (last - first)
    return torch.stack([(2 * x + (1 - width) * w) / width, (2 * y + (1 - height) * w) / height, z, w], dim=-1)


def upside_down(uv: Tensor) -> Tensor:
    """Convert uv (U, 2) to nvdiffrast's, where row 0 of a texture is t = 0; here it is v = 1."""
    return torch.stack([uv[:, 0], 1 - uv[:, 1]], dim=-1)


def sampling_grid(uv: Tensor) -> Tensor:
    """Convert uv (U, 2) for `grid_sample(align_corners=False)`: -1 … 1 from the first texel's edge to the last's."""
    return torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], dim=-1)


def triangles_hit(raster: Tensor) -> Tensor:
    """Triangle indices (B, H, W) int64, -1 for none, from nvdiffrast's raster (B, H, W, 4), which counts from 1."""
    return raster[..., 3].long() - 1


def corner_weights(raster: Tensor) -> Tensor:
    """Weights (B, 3, H, W) of the hit triangle's corners, 0 where none, from nvdiffrast's raster (B, H, W, 4).

    The raster holds the perspective-correct weights of the first two corners.
    """
    first, second, _, index = raster.unbind(dim=-1)
    third = torch.where(index > 0, 1 - first - second, 0.0)
    return torch.stack([first, second, third], dim=1)
