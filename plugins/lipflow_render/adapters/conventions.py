"""From this project's conventions to those of DRTK and nvdiffrast, and back: pure functions, exact in both directions.

Ours: a vertex x is seen at h = K [R|t] (x, 1) = (X, Y, W) with W its depth in millimetres; it falls on the pixel
(X / W, Y / W), whose centre lies at integers; row 0 is on top, of pictures and of textures, where v = 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_core.records import Camera


def seen_points(vertices: Tensor, camera: Camera) -> Tensor:
    """h = (X, Y, W) of vertices (B, V, 3): (B, V, 3) float64.

    In double precision whatever the inputs: rounding here would shift the whole picture by up to 1e-4 px.
    """
    projection = (camera.intrinsics.double() @ camera.extrinsics.double()).expand(len(vertices), 3, 4)
    return torch.einsum("bij,bvj->bvi", projection[..., :3], vertices.double()) + projection[:, None, :, 3]


def drtk_points(seen: Tensor, near: float) -> Tensor:
    """Seen points (B, V, 3) as DRTK takes them: column, row and depth.

    Its pixel centres lie at integers as ours do, and its rows run down. It draws no triangle that has a corner of
    depth ≤ 0, so corners nearer than `near` are given depth -1; they pass no gradient.
    """
    ahead = seen[..., 2:] >= near
    depth = torch.where(ahead, seen[..., 2:], 1.0)
    return torch.where(ahead, torch.cat([seen[..., :2] / depth, depth], dim=-1), seen.new_tensor([0.0, 0.0, -1.0]))


def depth_range(depth: Tensor, near: float) -> tuple[Tensor, Tensor]:
    """Near and far planes (B, 1) that cut away what is nearer than `near` and nothing else, as tight as can be.

    Tight, because float32 holds z/w in [-1, 1] with the same error everywhere: between 1 mm and infinity it could not
    tell a nose from the cheek behind it.

    Args:
        depth: (B, V) of the vertices.
    """
    first = (0.99 * depth.amin(dim=1, keepdim=True)).clamp(min=near)
    last = (1.01 * depth.amax(dim=1, keepdim=True)).maximum(1.01 * first)
    return first, last


def clip_points(seen: Tensor, near: float, height: int, width: int) -> Tensor:
    """Seen points (B, V, 3) in nvdiffrast's clip space: (B, V, 4).

    nvdiffrast's pixel of index i has its centre at i + ½ of a picture that spans -1 … 1, so x_clip / w = (2(X/W + ½)
    - width) / width, and y likewise. OpenGL's row 0 is the lowest; here y_clip grows as *our* rows do, so that its
    row 0 is our highest and neither points nor pictures need to be turned over: two flips that cancel. z passes no
    gradient, as in nvdiffrast.
    """
    x, y, w = seen.unbind(dim=-1)
    first, last = depth_range(w.detach(), near)
    z = ((last + first) * w.detach() - 2 * last * first) / (last - first)
    return torch.stack([(2 * x + (1 - width) * w) / width, (2 * y + (1 - height) * w) / height, z, w], dim=-1)


def upside_down(uv: Tensor) -> Tensor:
    """uv (U, 2) as nvdiffrast takes it: its texture's row 0 is t = 0, ours v = 1."""
    return torch.stack([uv[:, 0], 1 - uv[:, 1]], dim=-1)


def sampling_grid(uv: Tensor) -> Tensor:
    """uv (U, 2) as `grid_sample(align_corners=False)` takes it: -1 … 1 from the first texel's edge to the last's."""
    return torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], dim=-1)


def triangles_hit(raster: Tensor) -> Tensor:
    """Indices (B, H, W) int64, -1 for none, from nvdiffrast's raster (B, H, W, 4): its indices start at one."""
    return raster[..., 3].long() - 1


def corner_weights(raster: Tensor) -> Tensor:
    """Weights (B, 3, H, W) of the hit triangle's corners, 0 where none, from nvdiffrast's raster (B, H, W, 4).

    It keeps those of the first two corners, which are perspective-correct.
    """
    first, second, _, index = raster.unbind(dim=-1)
    third = torch.where(index > 0, 1 - first - second, 0.0)
    return torch.stack([first, second, third], dim=1)
