"""The contract of captures: where frames come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lipflow_core.config import Config
from lipflow_core.plans import CaptureInputs, Plan
from lipflow_core.records import Frame, Template


@dataclass(frozen=True)
class FrameRequest:
    """Which frames, and what of them.

    Args:
        indices: (B,) positions within the split.
        observations: Names of the observations wanted.
        cameras: (B, N) positions within `Split.cameras` of the cameras wanted of each frame's training views; needed if
            those are among the observations, otherwise without effect.
    """

    indices: np.ndarray
    observations: tuple[str, ...]
    cameras: np.ndarray | None = None


class Split(ABC):
    """The frames of one split ("train" or "held-out") of a capture.

    Attributes:
        segments: Segment of each frame, in order.
        numbers: (N,) int64 frame number of each.
        cameras: Names of the cameras of the training views.
    """

    segments: Sequence[str]
    numbers: np.ndarray
    cameras: Sequence[str]

    def __len__(self) -> int:
        return len(self.segments)

    @abstractmethod
    def load(self, request: FrameRequest) -> Frame:
        """Load a batch on the CPU. Safe to call from several threads and from forked processes.

        Raises:
            lipflow_core.errors.CaptureError: If a frame is damaged, naming the file.
        """


class Capture(ABC):
    """A recorded or simulated subject.

    The Config's plan has as `outputs` the shape of each tensor of each observation, named "OBSERVATION.TENSOR": of a
    surface `S.vertices` (V, 3) and `S.texture` (3, T, T), of views `V.images` (N, C, H, W) and `V.mask` (N, H, W), of
    keypoints `K.points` (K, 2) and `K.visible` (K,); besides "topology.triangles": (F, 3) and "template.landmarks":
    (K,). Its `roles` name the observations that the core uses.

    Args:
        config: Its options.
        given: Nothing yet.
    """

    def __init__(self, config: Config, given: CaptureInputs):
        self.config = config
        self.given = given
        self.planned: Plan = config.plan(given)

    @abstractmethod
    def template(self) -> Template:
        """What is the same in every frame."""

    @abstractmethod
    def split(self, name: str) -> Split:
        """The frames of split "train" or "held-out", made or opened on first use, with progress where it is long.

        Raises:
            lipflow_core.errors.CaptureError: If there is no such split or it has no frames.
        """

    @property
    @abstractmethod
    def identity(self) -> str:
        """Short hash of the capture's content, equal if and only if the frames are: part of a run's identity."""
