"""Encoder `hmc`: P(x), pictures of headset cameras → a Gaussian over the code."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from einops import einsum, rearrange
from lipflow_kit.layers import channels_last, gaussian_head
from torch import Tensor, nn

from lipflow_core.interfaces import ObservationEncoder
from lipflow_core.plans import EncoderInputs
from lipflow_core.records import Encoding, Views
from lipflow_hmc.augmentation import augment_pictures
from lipflow_hmc.config import HmcEncoderConfig

SLOPE = 0.2


class HmcEncoder(ObservationEncoder):
    """Encoder of headset pictures with attention over the views (paper, supplement).

    Every view has its own block of convolutions k4 s2 p1 with LeakyReLU 0.2, ending in a vector h^i; the blocks run as
    one grouped convolution. With A = softmax over views of W^A ∈ R^{h×views}, h = Σ_i A_i ⊙ h^i, channel by channel;
    W^A starts as N(0, 1). Linear heads read μ and log σ from h.

    Args:
        config: Options of the encoder.
        given: Inputs of the encoder; the modality has images (N, C, H, W) in [0, 1].
    """

    def __init__(self, config: HmcEncoderConfig, given: EncoderInputs):
        super().__init__(config, given)
        images = given.observations[config.modality]["images"]
        self.views, colours, height, width = images
        ladder = config.ladder(images)
        self.blocks = nn.Sequential()
        inputs = colours
        for outputs in ladder:
            convolution = nn.Conv2d(inputs * self.views, outputs * self.views, 4, 2, 1, groups=self.views)
            nn.init.kaiming_normal_(convolution.weight, SLOPE)
            nn.init.zeros_(convolution.bias)
            self.blocks.append(convolution)
            self.blocks.append(nn.LeakyReLU(SLOPE, inplace=True))
            inputs = outputs
        flat = ladder[-1] * (height >> len(ladder)) * (width >> len(ladder))
        self.widen = None if flat == config.features else ViewwiseLinear(self.views, flat, config.features)
        self.attention = nn.Parameter(torch.randn(config.features, self.views))
        self.mean_head = gaussian_head(config.features, given.code)
        self.log_std_head = gaussian_head(config.features, given.code)

    def augment(self, observation: Views, streams: Sequence[np.random.Generator]) -> Views:
        return augment_pictures(observation, self.config.augmentation, streams)

    def encode(self, observation: Views) -> Encoding:
        # Pictures are in [0, 1]; centred, the first layer sees contrast instead of brightness.
        pictures = rearrange(observation.images * 2 - 1, "b n c h w -> b (n c) h w")
        maps = self.blocks(channels_last(pictures))
        per_view = rearrange(maps, "b (n c) h w -> b n (c h w)", n=self.views)
        if self.widen is not None:
            per_view = self.widen(per_view)
        features = einsum(self.view_weights(), per_view, "h n, b n h -> b h")
        return Encoding(self.mean_head(features), self.log_std_head(features), features)

    def view_weights(self) -> Tensor:
        """Return the weight of each view in each channel of h: (h, N), summing to 1 over views."""
        return self.attention.softmax(dim=-1)


class ViewwiseLinear(nn.Module):
    """A separate dense layer for each view, followed by LeakyReLU: (B, N, in) → (B, N, out)."""

    def __init__(self, views: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(views, inputs, outputs) * math.sqrt(2 / (1 + SLOPE**2) / inputs))
        self.bias = nn.Parameter(torch.zeros(views, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(einsum(x, self.weight, "b n i, n i o -> b n o") + self.bias, SLOPE)
