"""Encoder `keypoint`: P(x), 2-D keypoints in one picture → a Gaussian over the code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from lipflow_kit.layers import SteadyBatchNorm, gaussian_head
from torch import Tensor, nn

from lipflow_core.interfaces import ObservationEncoder
from lipflow_core.plans import EncoderInputs
from lipflow_core.records import Encoding, Keypoints
from lipflow_keypoint.config import KeypointEncoderConfig


class KeypointEncoder(ObservationEncoder):
    """Encoder of keypoints: dense, residual blocks (batch norm, ReLU, dense, dropout), dense (paper, supplement).

    Points are scaled by the picture's size to [-1, 1]. Keypoints that are not visible are set to 0, the picture's
    centre, so that they add nothing to the first layer.

    Args:
        config: Options of the encoder.
        given: Inputs of the encoder; the modality has points (K, 2) in pixels.
    """

    def __init__(self, config: KeypointEncoderConfig, given: EncoderInputs):
        super().__init__(config, given)
        points = given.observations[config.modality]["points"]
        self.enter = nn.Linear(math.prod(points), config.hidden)
        self.blocks = nn.Sequential(
            *(ResidualBlock(config.hidden, config.dense_per_block, config.dropout) for _ in range(config.blocks))
        )
        self.leave = nn.Linear(config.hidden, config.features)
        self.mean_head = gaussian_head(config.features, given.code)
        self.log_std_head = gaussian_head(config.features, given.code)

    def augment(self, observation: Keypoints, streams: Sequence[np.random.Generator]) -> Keypoints:
        scale = self.config.augmentation.noise * observation.camera.width
        if scale == 0:
            return observation
        shape = observation.points.shape[1:]
        noise = np.stack([stream.standard_normal(shape, dtype=np.float32) for stream in streams])
        return replace(observation, points=observation.points + scale * torch.from_numpy(noise).to(observation.points))

    def encode(self, observation: Keypoints) -> Encoding:
        points = normalized_points(observation) * observation.visible[..., None]
        features = self.leave(self.blocks(self.enter(rearrange(points, "b k xy -> b (k xy)"))))
        return Encoding(self.mean_head(features), self.log_std_head(features), features)


class ResidualBlock(nn.Module):
    """A residual block of batch norm, ReLU, dense and dropout, several times: (B, width) → (B, width)."""

    def __init__(self, width: int, dense: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential()
        for layer in range(dense):
            self.layers.append(SteadyBatchNorm(width))
            self.layers.append(nn.ReLU())
            # A bias in front of the block's next batch norm would be subtracted by it.
            self.layers.append(nn.Linear(width, width, bias=layer == dense - 1))
            self.layers.append(nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def normalized_points(keypoints: Keypoints) -> Tensor:
    """Scale points so that the picture's outer edges are at -1 and 1: (B, K, 2)."""
    size = torch.tensor([keypoints.camera.width, keypoints.camera.height]).to(keypoints.points)
    return (2 * keypoints.points + 1) / size - 1
