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
from lipflow_dam.weight_norm import NormedLinear, NormedUpConv

SLOPE = 0.2
OUTPUT_SCALE = 0.1
"""Factor on the initial weights of the two output layers: every code first decodes to almost the mean face, so that the
first rendered gradients come from a face and not from noise."""


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
        views = view_direction.shape[1]
        view_hidden = self.view_branch(rearrange(view_direction, "b n xyz -> (b n) xyz"))
        joined = torch.cat([repeat(hidden, "b c -> (b n) c", n=views), view_hidden], dim=-1)
        start = rearrange(self.texture_start(joined), "b (c h w) -> b c h w", h=SMALLEST, w=SMALLEST)
        texture = self.texture_branch(channels_last(start)).contiguous()
        return FaceState(self._mesh(hidden), texture.unflatten(0, (code.shape[0], views)))

    def geometry(self, code: Tensor) -> Tensor:
        return self._mesh(self.code_branch(code))

    def _mesh(self, hidden: Tensor) -> Tensor:
        return rearrange(self.mesh_head(hidden), "b (v xyz) -> b v xyz", xyz=3)
