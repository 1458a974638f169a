"""Textures and their texels: the triangle under each, unwrapping pictures, and blending textures for a new view."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from lipflow_core.records import Camera, Topology

TEXEL_HIDDEN_BEHIND = 1.0
"""A texel is hidden if it lies this much farther than the surface that a camera sees there, millimetres, beside the
change of depth within a pixel and a half of a sloping surface."""

GRAZING = 0.1
"""Cosine of the angle to the normal below which a camera sees a surface too obliquely to tell its colour."""


def rasterise(corners: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the texel centres that lie inside triangles of an atlas.

    Args:
        corners: (F, 3, 2) x and y of each triangle's corners in texels, centres at integers, y down.
        size: Height and width of the square texture.

    Returns:
        All pairs of a texel and a triangle that covers it, ordered by triangle: flat texel index (P,), triangle (P,),
        and barycentric weights (P, 3) of the triangle's corners, float64.
    """
    low = np.clip(np.ceil(corners.min(1) - 1e-9), 0, size).astype(np.int64)
    high = np.clip(np.floor(corners.max(1) + 1e-9) + 1, 0, size).astype(np.int64)
    width, height = np.maximum(high - low, 0).T
    count = width * height
    triangle = np.repeat(np.arange(len(corners)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    x = low[triangle, 0] + within % width[triangle]
    y = low[triangle, 1] + within // width[triangle]
    a, b, c = np.moveaxis(corners[triangle], 1, 0)
    edge_b, edge_c, point = b - a, c - a, np.stack([x, y], -1) - a
    area = edge_b[:, 0] * edge_c[:, 1] - edge_b[:, 1] * edge_c[:, 0]
    safe = np.where(np.abs(area) < 1e-12, np.inf, area)
    weight_b = (point[:, 0] * edge_c[:, 1] - point[:, 1] * edge_c[:, 0]) / safe
    weight_c = (edge_b[:, 0] * point[:, 1] - edge_b[:, 1] * point[:, 0]) / safe
    barycentric = np.stack([1 - weight_b - weight_c, weight_b, weight_c], 1)
    inside = (barycentric.min(1) >= -1e-6) & np.isfinite(safe)
    return (y * size + x)[inside], triangle[inside], barycentric[inside]


class TexelMap:
    """The triangle under each texel of an atlas, and the place in it.

    Args:
        topology: The mesh's triangles and atlas.
        size: Height and width of the square texture.

    Attributes:
        row: (X,) row of each covered texel, row 0 at v = 1.
        column: (X,) column of each covered texel.
    """

    def __init__(self, topology: Topology, size: int):
        self.size = size
        self.triangles = topology.triangles
        uv = topology.uv.numpy().astype(np.float64)
        corners = np.stack([uv[:, 0] * size - 0.5, (1 - uv[:, 1]) * size - 0.5], axis=1)[topology.uv_triangles.numpy()]
        owner = np.full(size * size, -1, np.int64)
        weights = np.zeros((size * size, 3), np.float32)
        # Some triangles at a time, since all pairs of a large texture fill the memory. Later triangles win.
        for group in np.array_split(np.arange(len(corners)), max(1, size // 128)):
            texel, triangle, barycentric = rasterise(corners[group], size)
            owner[texel] = group[triangle]
            weights[texel] = barycentric
        covered = np.flatnonzero(owner >= 0)
        self.row, self.column = np.divmod(covered, size)
        self._corners = self.triangles[torch.from_numpy(owner[covered])]
        self._weights = torch.from_numpy(weights[covered])

    def points(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Give the places (B, X, 3) of the texels on meshes (B, V, 3) and their smooth unit normals (B, X, 3)."""
        a, b, c = (vertices[:, self.triangles[:, corner]] for corner in range(3))
        areas = torch.linalg.cross(b - a, c - a)
        normals = torch.zeros_like(vertices)
        for corner in range(3):
            normals.index_add_(1, self.triangles[:, corner], areas)
        return self._interpolate(vertices), torch.nn.functional.normalize(self._interpolate(normals), dim=-1)

    def _interpolate(self, values: Tensor) -> Tensor:
        return sum(values[:, self._corners[:, corner]] * self._weights[:, corner, None] for corner in range(3))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Lay values (…, X, C) of the covered texels out as textures (…, C, T, T), zero elsewhere."""
        spread = np.zeros((*values.shape[:-2], self.size, self.size, values.shape[-1]), values.dtype)
        spread[..., self.row, self.column, :] = values
        return np.moveaxis(spread, -1, -3)


def facing(points: Tensor, normals: Tensor, camera: Camera) -> Tensor:
    """Give the cosine (B, N, X) between normals (B, X, 3) at points (B, X, 3) and the direction to cameras (B, N)."""
    toward = camera.position[:, :, None] - points[:, None]
    return torch.linalg.vecdot(toward, normals[:, None]) / torch.linalg.vector_norm(toward, dim=-1)


def unwrap(texels: TexelMap, vertices: Tensor, pictures: Tensor, camera: Camera, depth: Tensor) -> np.ndarray:
    """Unwrap pictures: give each texel the colour that each camera sees there, and black where it sees none.

    Args:
        texels: The mesh's atlas.
        vertices: (B, V, 3) millimetres, head frame.
        pictures: (B, N, 3, H, W) in [0, 1].
        camera: Leading axes (B, N).
        depth: (B, N, H, W) millimetres to the mesh in each picture, 0 beside it.

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
    """Blend the textures of several cameras into one for a new view.

    Texels that a camera did not see are black in its texture and are left out. Where little weight remains, the average
    texture is taken.

    Args:
        textures: (N, 3, T, T) in [0, 1].
        weights: (N,) weights of the cameras for this view.
        average: (3, T, T) average texture in [0, 1].

    Returns:
        (3, T, T).
    """
    share = weights[:, None, None, None] * (textures.max(1, keepdims=True) > 0)
    return ((share * textures).sum(0) + 0.05 * average) / (share.sum(0) + 0.05)


def view_weights(view: np.ndarray, cameras: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the cameras that see a face most nearly as a new view does, and weigh them.

    Args:
        view: (3,) centre of the new view, head frame.
        cameras: (C, 3) centres of the cameras, head frame.
        most: Largest number of cameras to choose.

    Returns:
        Indices of the chosen cameras, nearest first, and their weights.
    """
    cosine = cameras @ view / (np.linalg.norm(cameras, axis=-1) * np.linalg.norm(view))
    chosen = np.argsort(-cosine, kind="stable")[:most]
    return chosen, np.exp(8.0 * (cosine[chosen] - cosine[chosen[0]]))
