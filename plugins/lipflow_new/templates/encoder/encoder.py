"""Encoder `skeleton-name`: a small network on 2-D keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from lipflow_core.interfaces import ObservationEncoder
from lipflow_core.plans import EncoderInputs
from lipflow_core.records import Encoding, Keypoints

from .config import SkeletonConfig


class Skeleton(ObservationEncoder):
    """Two dense layers on the visible keypoints, and a head each for mean and log standard deviation.

    Args:
        config: Its options.
        given: Size of the code; number of keypoints.
    """

    def __init__(self, config: SkeletonConfig, given: EncoderInputs):
        super().__init__(config, given)
        count, _ = given.observations[self.modality]["points"]
        self.body = nn.Sequential(
            nn.Linear(3 * count, config.hidden), nn.SiLU(), nn.Linear(config.hidden, config.features), nn.SiLU()
        )
        self.mean = nn.Linear(config.features, given.code)
        self.log_std = nn.Linear(config.features, given.code)

    def augment(self, observation: Keypoints, streams: Sequence[np.random.Generator]) -> Keypoints:
        shape, scale = observation.points.shape[1:], self.config.noise * observation.camera.width
        noise = np.stack([stream.standard_normal(shape, dtype=np.float32) for stream in streams])
        return replace(observation, points=observation.points + scale * torch.from_numpy(noise).to(observation.points))

    def encode(self, observation: Keypoints) -> Encoding:
        features = self.body(normalised(observation))
        return Encoding(self.mean(features), self.log_std(features), features)


def normalised(keypoints: Keypoints) -> Tensor:
    """Points from −1 to 1 across the picture, hidden ones at 0, and their visibility: (B, 3·K)."""
    size = keypoints.points.new_tensor([keypoints.camera.width, keypoints.camera.height])
    centred = 2 * (keypoints.points + 0.5) / size - 1
    visible = keypoints.visible[..., None]
    return rearrange(torch.cat([centred * visible, visible], dim=-1), "b k c -> b (k c)")
