"""Renderer `skeleton-name`: every triangle against every pixel, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from lipflow_core.interfaces import Renderer
from lipflow_core.records import Camera, Rendering, Topology

from .silhouettes import silhouette_term

SMALLEST_AREA = 1e-3
"""Triangles of less than this doubled area in px² are not drawn: their weights would be noise."""


class Skeleton(Renderer):
    """Finds the nearest triangle at each pixel without gradients, then interpolates with them.

    The triangle with screen corners p₀p₁p₂ has at pixel x the screen weights bᵢ = |x pⱼ pₖ| / |p₀ p₁ p₂|, and with
    the corners' depths zᵢ the perspective-correct weights bᵢ / zᵢ · z, where 1 / z = Σ bᵢ / zᵢ.
    """

    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        batch, channels = vertices.shape[0], texture.shape[1]
        height, width = camera.height, camera.width
        screen, depths = camera.project(vertices)
        far_enough = depths >= self.config.near
        screen = torch.where(far_enough[..., None], screen, torch.zeros_like(screen))
        depths = torch.where(far_enough, depths, torch.ones_like(depths))

        with torch.no_grad():
            found = [
                self._nearest(points, z, seen[topology.triangles].all(-1), topology.triangles, height, width)
                for points, z, seen in zip(screen, depths, far_enough, strict=True)
            ]
            triangle = torch.stack(found) if found else topology.triangles.new_zeros(0, height, width)

        hit = triangle >= 0
        sample, row, column = hit.nonzero(as_tuple=True)
        corners = topology.triangles[triangle[hit]]
        pixels = torch.stack([column, row], dim=-1).to(screen.dtype)
        flat_weights = _weights(screen[sample[:, None], corners], pixels)
        inverse_depth = flat_weights / depths[sample[:, None], corners]
        depth = 1 / inverse_depth.sum(-1)
        weights = inverse_depth * depth[:, None]

        uv = torch.einsum("mi,mic->mc", weights, topology.uv.to(screen.dtype)[topology.uv_triangles[triangle[hit]]])
        grid = screen.new_zeros(batch, height, width, 2).index_put(
            (sample, row, column), torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], dim=-1)
        )
        drawn = grid_sample(texture.expand(batch, -1, -1, -1), grid, padding_mode="border", align_corners=False)
        empty = drawn.new_zeros(1, channels, height, width) if background is None else background
        coverage = hit.to(screen.dtype)
        depth_map = screen.new_zeros(batch, height, width).index_put((sample, row, column), depth)
        layers = torch.cat([torch.where(hit[:, None], drawn, empty), coverage[:, None]], dim=1)
        if screen.requires_grad:
            layers = layers + silhouette_term(layers, screen, depth_map, triangle, topology.triangles)
        barycentric = screen.new_zeros(batch, height, width, 3).index_put((sample, row, column), weights)
        return Rendering(layers[:, :channels], layers[:, channels], depth_map, triangle, barycentric.movedim(-1, 1))

    def _nearest(
        self, screen: Tensor, depths: Tensor, drawable: Tensor, triangles: Tensor, height: int, width: int
    ) -> Tensor:
        """The nearest triangle at each pixel of one picture: (H, W) int64, −1 for none."""
        rows, columns = torch.meshgrid(
            torch.arange(height, device=screen.device), torch.arange(width, device=screen.device), indexing="ij"
        )
        pixels = torch.stack([columns, rows], dim=-1).reshape(-1, 1, 2).to(screen.dtype)
        nearest = screen.new_full((height * width,), torch.inf)
        winner = triangles.new_full((height * width,), -1)
        for chunk in drawable.nonzero()[:, 0].split(self.config.chunk):
            corners = screen[triangles[chunk]]
            large = _doubled_area(*corners.unbind(1)).abs() > SMALLEST_AREA
            chunk, corners = chunk[large], corners[large]
            if len(chunk) == 0:
                continue
            weights = _weights(corners[None], pixels)
            inside = (weights >= -1e-6).all(-1)
            depth = 1 / (weights / depths[triangles[chunk]]).sum(-1)
            depth, best = torch.where(inside, depth, torch.inf).min(dim=1)
            closer = depth < nearest
            nearest, winner = torch.where(closer, depth, nearest), torch.where(closer, chunk[best], winner)
        return winner.view(height, width)


def _weights(corners: Tensor, pixel: Tensor) -> Tensor:
    """Screen weights (..., 3) of pixels (..., 2) in triangles (..., 3, 2)."""
    one, two, three = corners.unbind(-2)
    areas = [_doubled_area(pixel, two, three), _doubled_area(one, pixel, three), _doubled_area(one, two, pixel)]
    return torch.stack(areas, dim=-1) / _doubled_area(one, two, three)[..., None]


def _doubled_area(one: Tensor, two: Tensor, three: Tensor) -> Tensor:
    """Twice the signed area of triangles with corners (..., 2)."""
    first, second = two - one, three - one
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
