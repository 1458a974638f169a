"""The classes of `cloud`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from cloud import POINTS
from torch import Tensor, nn

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import Capture, FrameRequest, Metric, Objective, ObservationEncoder, Split, State
from lipflow_core.records import Encoding, Frame, Record, Template
from lipflow_core.testing import inputs

NAMES = {
    "surface": "skin",
    "training_views": "ring",
    "scored_view": "front",
    "driving_views": "unused",
    "keypoints": "marks",
}


@dataclass(frozen=True)
class PointCloud(Record):
    """Points on the surface; points: (B, P, 3) millimetres."""

    points: Tensor


class CloudSplit(Split):
    def __init__(self, name: str, frames: int):
        self.frame = inputs.frame(frames, seed={"train": 0, "held-out": 1}[name], names=NAMES)
        self.segments = [f"{name}_{index // 4}" for index in range(frames)]
        self.numbers = np.arange(frames)
        self.cameras = ["left", "right"]

    def load(self, request: FrameRequest) -> Frame:
        index = torch.as_tensor(request.indices)
        taken = self.frame.rows(index)
        observations: dict[str, Record] = {}
        for name in request.observations:
            if name == "cloud":
                observations[name] = PointCloud(taken["skin"].vertices[:, :POINTS])
            elif name == "ring":
                row, chosen = torch.arange(len(index))[:, None], torch.as_tensor(request.cameras)
                observations[name] = taken["ring"].apply(lambda tensor, at=(row, chosen): tensor[at])
            else:
                observations[name] = taken[name]
        return Frame(tuple(self.segments[i] for i in index), torch.as_tensor(self.numbers)[index], observations)


class CloudCapture(Capture):
    def split(self, name: str) -> Split:
        if name not in ("train", "held-out"):
            raise CaptureError(f"capture 'cloud' has no split '{name}'")
        return CloudSplit(name, self.config.frames)

    def template(self) -> Template:
        return inputs.template()

    @property
    def identity(self) -> str:
        return f"cloud-{self.config.frames}"


class CloudEncoder(ObservationEncoder):
    def __init__(self, config, given):
        super().__init__(config, given)
        self.body = nn.Linear(3 * given.observations["cloud"]["points"][0], 5)
        self.head = nn.Linear(5, 2 * given.code)

    def augment(self, observation: PointCloud, streams) -> PointCloud:
        noise = [stream.standard_normal(observation.points.shape[1:], dtype=np.float32) for stream in streams]
        return replace(observation, points=observation.points + self.config.noise * torch.from_numpy(np.stack(noise)))

    def encode(self, observation: PointCloud) -> Encoding:
        features = torch.tanh(self.body(observation.points.flatten(1) / 80))
        mean, log_std = self.head(features).chunk(2, dim=1)
        return Encoding(mean, log_std, features)


class CloudObjective(Objective):
    def loss(self, state: State, target: Frame) -> Tensor:
        return nearest(state, target).square().mean(dim=1)


class CloudMetric(Metric):
    def score(self, state: State, target: Frame) -> Tensor:
        return nearest(state, target).mean(dim=1)


def nearest(state: State, target: Frame) -> Tensor:
    """Distance of each point to the nearest vertex, (B, P) millimetres."""
    offset = target["cloud"].points[:, :, None] - state.face.vertices[:, None]
    return offset.norm(dim=-1).amin(dim=-1)
