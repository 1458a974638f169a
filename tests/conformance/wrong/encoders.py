"""Wrong encoders, and wrong augmentations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from lipflow_keypoint.encoder import KeypointEncoder

from lipflow_core.records import Encoding


class Spread(KeypointEncoder):
    def encode(self, observation):
        encoding = super().encode(observation)
        return replace(encoding, log_std=encoding.log_std + 25)


class Blind(KeypointEncoder):
    def encode(self, observation):
        if observation is None:
            code = torch.zeros(1, self.given.code)
            return Encoding(code, code, torch.zeros(1, self.config.features))
        return super().encode(observation)


class Global(KeypointEncoder):
    def augment(self, observation, streams):
        np.random.rand()
        return super().augment(observation, streams)


class Constant(KeypointEncoder):
    def augment(self, observation, streams):
        return replace(observation, points=observation.points + 1)


class FirstStream(KeypointEncoder):
    """All samples are changed alike."""

    def augment(self, observation, streams):
        return replace(observation, points=observation.points + streams[0].standard_normal())


class InPlace(KeypointEncoder):
    def augment(self, observation, streams):
        observation.points.round_()
        return observation


class Double(KeypointEncoder):
    def augment(self, observation, streams):
        augmented = super().augment(observation, streams)
        return replace(augmented, points=augmented.points.double())
