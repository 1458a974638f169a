"""Renderer `torch`: the definition of what every renderer computes; docs/renderers.md derives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import grid_sample

from lipflow_core.interfaces import Renderer
from lipflow_core.records import Camera, Rendering, Topology
from lipflow_render.definition import SLIVER
from lipflow_render.topology import Neighbours, TopologyCache, check_vertices, vertices_used
from lipflow_render.torch_silhouettes import edge_term

_DEGENERATE = 1e-9


class _Mesh(NamedTuple):
    """A topology on a device: int64 (F, 3) each, see `Neighbours`, and one more than the highest vertex index."""

    triangles: Tensor
    uv_triangles: Tensor
    adjacent: Tensor
    sheet: Tensor
    vertices: int


def _mesh(triangles: np.ndarray, uv_triangles: np.ndarray, device: torch.device) -> _Mesh:
    tables = (triangles, uv_triangles, *Neighbours.of(triangles))
    return _Mesh(*(torch.tensor(table, dtype=torch.int64, device=device) for table in tables), vertices_used(triangles))


_cache = TopologyCache(_mesh)


class TorchRenderer(Renderer):
    """Rasterises in homogeneous coordinates, so that triangles may cross the near plane.

    A vertex x is projected to h = K [R|t] (x, 1) = (X, Y, W). The ray through pixel (p, q) meets the triangle h₀h₁h₂ at
    corner weights bᵢ ∝ uᵢ = (hⱼ × hₖ)·(p, q, 1), with (i, j, k) cyclic. It hits the triangle where all uᵢ have the sign
    of det(h₀, h₁, h₂), at depth Σ bᵢ Wᵢ. The weights are differentiable functions of vertices and cameras, and so are
    all attributes that are interpolated with them. `edge_term` adds the gradients of moving boundaries.
    """

    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        batch, channels = vertices.shape[0], texture.shape[1]
        height, width = camera.height, camera.width
        mesh = _cache.of(topology, vertices.device)
        check_vertices(vertices, mesh.vertices)
        triangles = mesh.triangles
        projection = (camera.intrinsics @ camera.extrinsics.to(camera.intrinsics)).to(vertices)
        seen = torch.einsum("bij,bvj->bvi", projection[..., :3].expand(batch, 3, 3), vertices)
        seen = seen + projection[:, None, :, 3]
        if seen.requires_grad:
            seen.register_hook(lambda gradient: torch.nan_to_num(gradient, 0.0, 0.0, 0.0))

        with torch.no_grad():
            hits = [self._rasterize(points, triangles, height, width) for points in seen]
            triangle = torch.stack(hits) if hits else triangles.new_zeros((0, height, width))
        sample, row, column = (triangle >= 0).nonzero(as_tuple=True)
        hit = triangle[sample, row, column]
        corners = _without_slivers(seen[sample[:, None], triangles[hit]], self.config.near)
        pixel = torch.stack([column, row], dim=-1).to(seen.dtype)
        weights, depth_hit = _weights(corners, pixel)

        uv = torch.einsum("mi,mic->mc", weights, topology.uv.to(seen)[mesh.uv_triangles[hit]])
        grid = seen.new_zeros((batch, height, width, 2)).index_put(
            (sample, row, column), torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], dim=-1)
        )
        sampled = grid_sample(
            texture.expand(batch, -1, -1, -1), grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        if background is None:
            background = sampled.new_zeros((1, channels, height, width))
        coverage = (triangle >= 0).to(seen.dtype)
        image = torch.where(coverage[:, None] > 0, sampled, background)
        if self.config.edge_gradients and seen.requires_grad:
            layers = torch.cat([image, coverage[:, None]], dim=1)
            term = edge_term(layers.detach(), seen, triangle, triangles, mesh.adjacent, mesh.sheet, self.config.near)
            layers = layers + term
            image, coverage = layers[:, :channels], layers[:, channels]
        depth = seen.new_zeros((batch, height, width)).index_put((sample, row, column), depth_hit)
        barycentric = seen.new_zeros((batch, height, width, 3)).index_put((sample, row, column), weights)
        return Rendering(image, coverage, depth, triangle, rearrange(barycentric, "b h w corner -> b corner h w"))

    def _rasterize(self, seen: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
        """Find the nearest triangle at each pixel of one picture, the one of lowest index among equally near ones.

        Args:
            seen: (V, 3) homogeneous pixel coordinates.
            triangles: (F, 3).
            height, width: Size of the picture.

        Returns:
            (H, W) int64, -1 for none.
        """
        nearest = seen.new_full((height * width,), torch.inf)
        winner = triangles.new_full((height * width,), len(triangles))
        left, right, top, bottom = _pixel_bounds(seen[triangles], self.config.near, height, width)
        across = (right - left + 1).clamp(min=0)
        size = across * (bottom - top + 1).clamp(min=0)
        for step in range(2):
            for index in _chunks(size, self.config.candidates):
                owner = index.repeat_interleave(size[index])
                place = torch.arange(len(owner), device=owner.device)
                place = place - (size[index].cumsum(0) - size[index]).repeat_interleave(size[index])
                column = left[owner] + place % across[owner]
                row = top[owner] + place // across[owner]
                inside, depth = _hit(seen, triangles[owner], torch.stack([column, row], dim=-1).to(seen.dtype))
                inside &= depth >= self.config.near
                owner, pixel, depth = owner[inside], (row * width + column)[inside], depth[inside]
                if step == 0:
                    nearest.scatter_reduce_(0, pixel, depth, "amin")
                else:
                    first = depth == nearest[pixel]
                    winner.scatter_reduce_(0, pixel[first], owner[first], "amin")
        return torch.where(winner == len(triangles), -1, winner).view(height, width)


def _chunks(size: Tensor, limit: int) -> Iterator[Tensor]:
    """Yield the indices of triangles that have candidates, in runs of about `limit` candidates."""
    index = (size > 0).nonzero().squeeze(1)
    run = (size[index].cumsum(0) - 1).div(limit, rounding_mode="floor")
    _, lengths = torch.unique_consecutive(run, return_counts=True)
    yield from index.split(lengths.tolist())


def _pixel_bounds(corners: Tensor, near: float, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bound the pixel centres that the parts of triangles beyond the near plane may hit.

    Args:
        corners: (F, 3, 3) homogeneous pixel coordinates.
        near: Depth of the near plane.
        height, width: Size of the picture.

    Returns:
        First and last column, first and last row, each (F,) int64; first > last if a triangle hits none.
    """
    ahead = corners[..., 2] >= near
    onward = corners.roll(-1, dims=1)
    crosses = ahead != ahead.roll(-1, dims=1)
    rise = torch.where(crosses, onward[..., 2] - corners[..., 2], 1.0)
    cut = corners + ((near - corners[..., 2]) / rise)[..., None] * (onward - corners)
    points = torch.cat([corners[..., :2] / corners[..., 2:].clamp(min=near), cut[..., :2] / near], dim=1)
    exists = torch.cat([ahead, crosses], dim=1)[..., None]
    low = torch.where(exists, points, torch.inf).amin(dim=1)
    high = torch.where(exists, points, -torch.inf).amax(dim=1)
    # A cut point is rounded: one pixel more on each side costs nothing, the hit test decides.
    slack = torch.where(crosses.any(dim=1), 1.0, 0.0)[:, None].to(low.dtype)
    limit = torch.tensor([width, height], dtype=low.dtype, device=low.device)
    first = (low - slack).ceil().maximum(torch.zeros_like(limit)).minimum(limit).nan_to_num(0.0).long()
    last = (high + slack).floor().minimum(limit - 1).maximum(-torch.ones_like(limit)).nan_to_num(-1.0).long()
    return first[:, 0], last[:, 0], first[:, 1], last[:, 1]


def _hit(seen: Tensor, triangle: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Test whether rays through pixels hit triangles.

    Each edge is evaluated from its lower to its higher vertex. Two triangles that share an edge get the same number,
    so no pixel falls between them.

    Args:
        seen: (V, 3) homogeneous pixel coordinates.
        triangle: (M, 3) vertices.
        pixel: (M, 2) column and row.

    Returns:
        Whether there is a hit (M,), and its depth (M,).
    """
    areas = []
    for corner in range(3):
        start, end = triangle[:, (corner + 1) % 3], triangle[:, (corner + 2) % 3]
        sign = torch.where(start < end, 1.0, -1.0).to(seen.dtype)
        areas.append(sign * _area(seen[torch.minimum(start, end)], seen[torch.maximum(start, end)], pixel))
    area = torch.stack(areas, dim=-1)
    total = area.sum(dim=-1)
    depth = torch.einsum("mi,mi->m", area, seen[triangle][..., 2]) / torch.where(total == 0, 1.0, total)
    inside = ((area >= 0).all(dim=-1) | (area <= 0).all(dim=-1)) & (total.abs() > _DEGENERATE)
    return inside, depth


def _area(one: Tensor, other: Tensor, pixel: Tensor) -> Tensor:
    """(h_one × h_other)·(p, q, 1), computed relative to the pixel: twice the signed area of pixel and edge."""
    one_x, one_y = one[..., 0] - pixel[..., 0] * one[..., 2], one[..., 1] - pixel[..., 1] * one[..., 2]
    other_x, other_y = other[..., 0] - pixel[..., 0] * other[..., 2], other[..., 1] - pixel[..., 1] * other[..., 2]
    return one_x * other_y - other_x * one_y


def _weights(corners: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Perspective-correct corner weights (M, 3) and depth (M,) where rays through pixels (M, 2) meet triangles.

    Args:
        corners: (M, 3, 3) homogeneous pixel coordinates of each corner.
    """
    area = torch.stack([_area(corners[:, (i + 1) % 3], corners[:, (i + 2) % 3], pixel) for i in range(3)], dim=-1)
    weights = area / area.sum(dim=-1, keepdim=True)
    return weights, torch.einsum("mi,mi->m", weights, corners[..., 2])


def _without_slivers(corners: Tensor, near: float) -> Tensor:
    """Detach the corners of slivers, which pass no gradient."""
    with torch.no_grad():
        points = corners[..., :2] / corners[..., 2:].clamp(min=near)
        (x, y) = (points[:, 1:] - points[:, :1]).unbind(dim=-1)
        doubled = (x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).abs()
        keep = (doubled >= SLIVER) | (corners[..., 2] < near).any(dim=1)
    return torch.where(keep[:, None, None], corners, corners.detach())
