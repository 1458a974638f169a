"""Decoder `dam`: D(z, v), code and view direction → mesh and view-dependent texture."""

from __future__ import annotations

import itertools

import torch
from einops import rearrange, repeat
from lipflow_kit.layers import channels_last
from torch import Tensor, nn

from lipflow_core.interfaces import Decoder
from lipflow_core.plans import DecoderInputs
from lipflow_core.records import FaceState
from lipflow_dam.config import SMALLEST, DamDecoderConfig
from lipflow_dam.tiles import cleared, cut
from lipflow_dam.weight_norm import NormedLinear, NormedUpConv

SLOPE = 0.2
OUTPUT_SCALE = 0.1
"""Factor on the initial weights of the two output layers: every code first decodes to almost the mean face, so that the
first rendered gradients come from a face and not from noise."""
TILED = 3
"""Last layers of the texture branch, which make nearly all of its work: tiles are computed from the layer before."""
TOGETHER = 32
"""Tiles that are computed together."""
TILES = 16
"""Tiles per row of a texture, but no smaller ones than one texel of the layer before."""


class DamDecoder(Decoder):
    """Decoder of the Deep Appearance Model (paper, supplement, Table 10).

    The code goes through a dense layer. A second dense layer makes the mesh from it; the mesh does not depend on the
    view and is decoded once for all views. The first layer's output, joined with a dense layer on the view direction,
    makes a 4×4 feature map, which transposed convolutions k4 s2 with a bias per texel turn into the texture. LeakyReLU
    0.2 stands between layers, and weights are normalised with one norm per tensor.

    Args:
        config: Options of the decoder.
        given: Inputs of the decoder: code size, vertex count and texture shape.
    """

    def __init__(self, config: DamDecoderConfig, given: DecoderInputs):
        super().__init__(config, given)
        self.code_branch = nn.Sequential(
            NormedLinear(given.code, config.hidden, SLOPE), nn.LeakyReLU(SLOPE, inplace=True)
        )
        self.view_branch = nn.Sequential(NormedLinear(3, config.view_hidden, SLOPE), nn.LeakyReLU(SLOPE, inplace=True))
        self.mesh_head = NormedLinear(config.hidden, given.vertices * 3, scale=OUTPUT_SCALE)
        self.texture_start = nn.Sequential(
            NormedLinear(config.hidden + config.view_hidden, config.start_channels * SMALLEST**2, SLOPE),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        channels = (config.start_channels, *config.ladder(given.texture))
        self.texture_branch = nn.Sequential()
        side = SMALLEST
        for inputs, outputs in itertools.pairwise(channels[:-1]):
            side *= 2
            self.texture_branch.append(NormedUpConv(inputs, outputs, side, SLOPE))
            self.texture_branch.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.texture_branch.append(NormedUpConv(channels[-2], 3, side * 2, scale=OUTPUT_SCALE))

    def decode(self, code: Tensor, view_direction: Tensor) -> FaceState:
        hidden = self.code_branch(code)
        texture = self.texture_branch(self._start(hidden, view_direction)).contiguous()
        return FaceState(self._mesh(hidden), texture.unflatten(0, view_direction.shape[:2]))

    def geometry(self, code: Tensor) -> Tensor:
        return self._mesh(self.code_branch(code))

    @property
    def tile(self) -> int | None:
        side = self.given.texture[-1]
        return max(1 << TILED, side // TILES) if side >= SMALLEST << TILED else None

    def texture_tiles(self, code: Tensor, view_direction: Tensor, place: Tensor) -> Tensor:
        whole, tiled = self.texture_branch[: 1 - 2 * TILED], self.texture_branch[1 - 2 * TILED :]
        maps = whole(self._start(self.code_branch(code), view_direction))
        size = self.tile >> TILED
        row, column, sample, view = place.unbind(1)
        top, left = row * size - 1, column * size - 1
        maps = rearrange(maps, "p c h w -> p h w c")
        parts = cut(maps, sample * view_direction.shape[1] + view, top, left, size + 2)
        parts = cleared(parts, top, left, maps.shape[1])
        layers = [(layer, layer.quads()) for layer in tiled if isinstance(layer, NormedUpConv)]
        made = []
        for corners, squares in zip(place[:, :2].split(TOGETHER), parts.split(TOGETHER), strict=True):
            squares, side = rearrange(squares, "m h w c -> m c h w"), size
            for layer, quads in layers:
                side *= 2
                # The next layer needs one texel more on each side.
                halo = int(side < self.tile)
                top, left = (corners * side - halo).unbind(1)
                squares = layer.tiles(squares, quads, top, left, side + 2 * halo)
            made.append(squares)
        return torch.cat(made)

    def _start(self, hidden: Tensor, view_direction: Tensor) -> Tensor:
        """Compute the map (B·N, C, 4, 4) that the transposed convolutions take."""
        views = view_direction.shape[1]
        view_hidden = self.view_branch(rearrange(view_direction, "b n xyz -> (b n) xyz"))
        joined = torch.cat([repeat(hidden, "b c -> (b n) c", n=views), view_hidden], dim=-1)
        return channels_last(rearrange(self.texture_start(joined), "b (c h w) -> b c h w", h=SMALLEST, w=SMALLEST))

    def _mesh(self, hidden: Tensor) -> Tensor:
        return rearrange(self.mesh_head(hidden), "b (v xyz) -> b v xyz", xyz=3)
