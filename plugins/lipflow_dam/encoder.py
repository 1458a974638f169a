"""Encoder `dam`: Q(M, T), tracked mesh and average texture → a Gaussian over the code."""

from __future__ import annotations

import itertools

import torch
from einops import rearrange
from lipflow_kit.layers import channels_last
from torch import nn

from lipflow_core.interfaces import ObservationEncoder
from lipflow_core.plans import EncoderInputs
from lipflow_core.records import Encoding, FaceState
from lipflow_dam.config import SMALLEST, DamEncoderConfig
from lipflow_dam.weight_norm import NormedConv, NormedLinear

SLOPE = 0.2


class DamEncoder(ObservationEncoder):
    """Encoder of the Deep Appearance Model (paper, supplement, Table 10).

    The texture goes through convolutions k4 s2 down to 4×4, the mesh through one dense layer. A dense layer on both
    gives the features h (B, hidden), and the heads compute μ = 0.1·(linear) and log σ = 0.01·(linear) from h. LeakyReLU
    0.2 stands between layers, and weights are normalised with one norm per tensor.

    Args:
        config: Options of the encoder.
        given: Inputs of the encoder; the surface has vertices (V, 3) and texture (3, T, T), standardised.
    """

    def __init__(self, config: DamEncoderConfig, given: EncoderInputs):
        super().__init__(config, given)
        surface = given.observations[given.roles.surface]
        vertices, texture = surface["vertices"], surface["texture"]
        channels = (3, *config.ladder(texture))
        self.texture_branch = nn.Sequential()
        for inputs, outputs in itertools.pairwise(channels):
            self.texture_branch.append(NormedConv(inputs, outputs, SLOPE))
            self.texture_branch.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.mesh_branch = nn.Sequential(
            NormedLinear(vertices[0] * 3, config.hidden, SLOPE),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.joined = nn.Sequential(
            NormedLinear(channels[-1] * SMALLEST**2 + config.hidden, config.hidden, SLOPE),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.mean_head = NormedLinear(config.hidden, given.code)
        self.log_std_head = NormedLinear(config.hidden, given.code)

    def encode(self, observation: FaceState) -> Encoding:
        texture = channels_last(observation.texture)
        texture_features = rearrange(self.texture_branch(texture), "b c h w -> b (c h w)")
        mesh_features = self.mesh_branch(rearrange(observation.vertices, "b v xyz -> b (v xyz)"))
        features = self.joined(torch.cat([texture_features, mesh_features], dim=-1))
        return Encoding(0.1 * self.mean_head(features), 0.01 * self.log_std_head(features), features)
