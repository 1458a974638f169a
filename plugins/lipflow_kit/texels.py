"""Between pictures and textures: what each texel shows, unwrapping pictures, and blending textures for a new view."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from lipflow_core.records import Camera, Topology

HIDDEN_BEHIND = 4.0
"""A keypoint this much farther than what a camera sees there is hidden, millimetres."""

TEXEL_HIDDEN_BEHIND = 1.0
"""Likewise a texel, besides what the surface's slope makes within a pixel and a half."""

GRAZING = 0.1
"""Cosine below which a camera sees a surface too obliquely to tell its colour."""


class TexelMap:
    """Which triangle each texel of an atlas belongs to, and where in it.

    Args:
        topology: The mesh's.
        size: Height and width of the square texture.

    Attributes:
        row: (X,) row of each covered texel, row 0 at v = 1.
        column: (X,).
        triangle: (X,) index of its triangle.
        weights: (X, 3) barycentric weights of that triangle's corners, float32.
    """

    def __init__(self, topology: Topology, size: int):
        self.size = size
        self.triangles = topology.triangles
        uv = topology.uv.numpy().astype(np.float64)
        corners = np.stack([uv[:, 0] * size - 0.5, (1 - uv[:, 1]) * size - 0.5], axis=1)[topology.uv_triangles.numpy()]
        owner = np.full((size, size), -1, np.int64)
        weights = np.zeros((size, size, 3), np.float32)
        low = np.clip(np.ceil(corners.min(1) - 1e-9), 0, size).astype(int)
        high = np.clip(np.floor(corners.max(1) + 1e-9), -1, size - 1).astype(int)
        for index in np.flatnonzero((low <= high).all(1)):
            (left, top), (right, bottom) = low[index], high[index]
            a, b, c = corners[index]
            area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
            if abs(area) < 1e-12:
                continue
            x, y = np.arange(left, right + 1) - a[0], np.arange(top, bottom + 1)[:, None] - a[1]
            second = (x * (c[1] - a[1]) - y * (c[0] - a[0])) / area
            third = (y * (b[0] - a[0]) - x * (b[1] - a[1])) / area
            inside = (second >= -1e-6) & (third >= -1e-6) & (second + third <= 1 + 1e-6)
            rows, columns = np.nonzero(inside)
            owner[top + rows, left + columns] = index
            weights[top + rows, left + columns] = np.stack([1 - second - third, second, third], -1)[inside]
        self.row, self.column = np.nonzero(owner >= 0)
        self.triangle = owner[self.row, self.column]
        self.weights = weights[self.row, self.column]
        self._corners = self.triangles[torch.from_numpy(self.triangle)]
        self._weights = torch.from_numpy(self.weights)

    def points(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Places (B, X, 3) of the texels on meshes (B, V, 3), and their smooth unit normals (B, X, 3)."""
        a, b, c = (vertices[:, self.triangles[:, corner]] for corner in range(3))
        areas = torch.linalg.cross(b - a, c - a)
        normals = torch.zeros_like(vertices)
        for corner in range(3):
            normals.index_add_(1, self.triangles[:, corner], areas)
        return self._interpolate(vertices), torch.nn.functional.normalize(self._interpolate(normals), dim=-1)

    def _interpolate(self, values: Tensor) -> Tensor:
        return sum(values[:, self._corners[:, corner]] * self._weights[:, corner, None] for corner in range(3))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """(…, X, C) values of the covered texels → (…, C, T, T), zero elsewhere."""
        spread = np.zeros((*values.shape[:-2], self.size, self.size, values.shape[-1]), values.dtype)
        spread[..., self.row, self.column, :] = values
        return np.moveaxis(spread, -1, -3)


def facing(points: Tensor, normals: Tensor, camera: Camera) -> Tensor:
    """Cosine (B, N, X) between normals (B, X, 3) at points (B, X, 3) and the way to each of (B, N) cameras."""
    toward = camera.position[:, :, None] - points[:, None]
    return torch.linalg.vecdot(toward, normals[:, None]) / torch.linalg.vector_norm(toward, dim=-1)


def unwrap(texels: TexelMap, vertices: Tensor, pictures: Tensor, camera: Camera, depth: Tensor) -> np.ndarray:
    """Lay pictures out over the texture: what each camera sees of each texel, black where it sees nothing of it.

    Args:
        texels: Of the mesh's atlas.
        vertices: (B, V, 3) millimetres, head frame.
        pictures: (B, N, 3, H, W) in [0, 1].
        camera: Leading axes (B, N).
        depth: (B, N, H, W) of the mesh as each camera sees it, 0 where it sees none.

    Returns:
        (B, N, 3, T, T) float32 in [0, 1].
    """
    points, normals = texels.points(vertices)
    count = pictures.shape[1]
    places, away = camera.project(points[:, None].expand(-1, count, -1, -1))
    scale = torch.tensor([camera.width, camera.height])
    grid = rearrange((2 * places + 1) / scale - 1, "b n x d -> (b n) 1 x d")
    flat = rearrange(pictures, "b n c h w -> (b n) c h w")
    colors = torch.nn.functional.grid_sample(flat, grid, align_corners=False, padding_mode="border")
    seen = torch.nn.functional.grid_sample(
        rearrange(depth, "b n h w -> (b n) 1 h w"), grid, mode="nearest", align_corners=False
    )
    seen = rearrange(seen, "(b n) 1 1 x -> b n x", n=count)
    cosine = facing(points, normals, camera)
    footprint = away / camera.intrinsics[..., 0, 0, None]
    slope = (1 - cosine**2).clamp(0, 1).sqrt() / cosine.clamp(min=GRAZING)
    visible = (cosine > GRAZING) & (away > 0) & (seen > 0)
    visible &= away < seen + TEXEL_HIDDEN_BEHIND + 1.5 * footprint * slope
    colors = rearrange(colors, "(b n) c 1 x -> b n x c", n=count)
    return texels.spread((colors * visible[..., None]).numpy())


def blend(textures: np.ndarray, weights: np.ndarray, average: np.ndarray) -> np.ndarray:
    """One texture for a new view from those of several cameras.

    Texels that a camera did not see are black in its texture and have no say; where none has much, the average texture
    speaks.

    Args:
        textures: (N, 3, T, T) in [0, 1].
        weights: (N,) of the cameras, for this view.
        average: (3, T, T).
    """
    say = weights[:, None, None, None] * (textures.max(1, keepdims=True) > 0)
    return ((say * textures).sum(0) + 0.05 * average) / (say.sum(0) + 0.05)


def view_weights(view: np.ndarray, cameras: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Which cameras see a face most like a new view does.

    Args:
        view: (3,) where the new view looks from, head frame.
        cameras: (C, 3) where the cameras stand.
        most: How many are taken at most.

    Returns:
        Indices of the chosen cameras, nearest first, and their weights.
    """
    cosine = cameras @ view / (np.linalg.norm(cameras, axis=-1) * np.linalg.norm(view))
    chosen = np.argsort(-cosine, kind="stable")[:most]
    return chosen, np.exp(8.0 * (cosine[chosen] - cosine[chosen[0]]))
