"""Finds the tiles of a texture that pictures show, so that a fit decodes no other texels.

Which triangle a pixel sees depends on the mesh and the cameras alone. So the mesh is drawn once without its texture,
and the texture is decoded for the triangles that were found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.autograd.function import once_differentiable

from lipflow_core.avatar import Avatar
from lipflow_core.records import Camera, Template, Topology

SMALLEST = 512
"""Side in texels of the smallest texture that is decoded in tiles. For smaller ones, drawing twice costs what they save
(benchmarks/RESULTS.md)."""
MARGIN = 2
"""Texels by which a triangle's part of the texture is enlarged: interpolation reads one beyond, rounding one more."""


@dataclass(frozen=True)
class Sight:
    """The tiles of the texture that each triangle shows.

    Args:
        shown: (F, K·K), 1 where the triangle may show a texel of the tile, row by row, else 0.
        tile: Side of a tile in texels.
    """

    shown: Tensor
    tile: int

    @classmethod
    def of(cls, avatar: Avatar, template: Template) -> Sight | None:
        """Prepare it for a model; None if its textures are decoded whole.

        On a GPU they are: there a tile's layers are too small to be worth their calls.
        """
        tile, side = avatar.decoder.tile, template.texture_mean.shape[-1]
        if tile is None or side < SMALLEST or avatar.device.type != "cpu":
            return None
        return cls(shown_tiles(template.topology, side, tile).flatten(1).float(), tile)

    @torch.no_grad()
    def seen(self, avatar: Avatar, vertices: Tensor, topology: Topology, camera: Camera) -> Tensor:
        """Find the tiles that the pictures of some meshes show.

        Args:
            avatar: Model whose renderer draws.
            vertices: (B, V, 3) millimetres.
            topology: Topology of the meshes.
            camera: Cameras with leading axes (B, N).

        Returns:
            (B, N, K, K) bool, by row and column of the tile.
        """
        batch, views = camera.extrinsics.shape[:2]
        meshes = repeat(vertices, "b v xyz -> (b n) v xyz", n=views)
        plain = meshes.new_zeros(1, 1, 2, 2)
        triangle = avatar.renderer(meshes, plain, topology, camera.flatten()).triangle
        visible = self.shown.new_zeros(len(triangle), len(self.shown) + 1)
        visible.scatter_(1, triangle.flatten(1) + 1, 1)
        seen = visible[:, 1:] @ self.shown > 0
        return rearrange(seen, "(b n) (row column) -> b n row column", b=batch, row=round(seen.shape[1] ** 0.5))

    def texture(self, avatar: Avatar, template: Template, code: Tensor, directions: Tensor, seen: Tensor) -> Tensor:
        """Decode some tiles of the textures of codes.

        Args:
            avatar: Model that decodes.
            template: Its template.
            code: (B, D).
            directions: (B, N, 3), as decoders take them.
            seen: (B, N, K, K) bool, the tiles.

        Returns:
            (B, N, 3, T, T) in [0, 1], not clamped; zero in other tiles.
        """
        place = rearrange(seen, "b n row column -> row column b n").nonzero()
        row, column, sample, view = place.unbind(1)
        tiles = avatar.decoder.texture_tiles(code, directions, place).to(code.dtype)
        mean = rearrange(_tiled(template.texture_mean, self.tile), "c k l h w -> k l c h w")[row, column]
        restored = torch.addcmul(mean, tiles, template.texture_scale)
        shape = (*directions.shape[:2], *template.texture_mean.shape)
        return _Placed.apply(restored, (sample, view, row, column), shape)


class _Placed(torch.autograd.Function):
    """Places tiles (M, 3, t, t) at (sample, view, row, column) of textures (B, N, 3, T, T) that are zero elsewhere.

    Assigning to parts of a tensor would copy gradients of whole textures several times.
    """

    @staticmethod
    def forward(ctx: Any, tiles: Tensor, place: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        ctx.place, ctx.tile = place, tiles.shape[-1]
        # The system provides numpy's zeros only where something is written, here a quarter of them.
        textures = torch.from_numpy(np.zeros(shape, tiles.numpy().dtype))
        _tiled(textures, ctx.tile).movedim(2, -3)[place] = tiles
        return textures

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _tiled(gradient, ctx.tile).movedim(2, -3)[ctx.place], None, None


def shown_tiles(topology: Topology, side: int, tile: int) -> Tensor:
    """Find the tiles that each triangle may show a texel of.

    Args:
        topology: Triangles and texture atlas.
        side: Side of the texture in texels.
        tile: Side of a tile in texels.

    Returns:
        (F, K, K) bool, by row and column of the tile.
    """
    corners = topology.uv[topology.uv_triangles]
    # Row 0 is at the top, v runs upwards.
    places = torch.stack([1 - corners[..., 1], corners[..., 0]], dim=-1) * side - 0.5
    first = ((places.amin(dim=1).floor() - MARGIN).clamp(0, side - 1) / tile).floor()[..., None]
    last = ((places.amax(dim=1).floor() + 1 + MARGIN).clamp(0, side - 1) / tile).floor()[..., None]
    tiles = torch.arange(side // tile, device=corners.device)
    within = (tiles >= first) & (tiles <= last)
    return within[:, 0, :, None] & within[:, 1, None, :]


def _tiled(texture: Tensor, tile: int) -> Tensor:
    """View textures (..., T, T) as tiles (..., K, K, t, t)."""
    cut = texture.unflatten(-1, (-1, tile)).unflatten(-3, (-1, tile))
    return cut.transpose(-3, -2)
