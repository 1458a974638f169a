"""Defines the contract of captures, which provide frames."""

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
    """Requests frames, with the observations and cameras to load.

    Args:
        indices: (B,) positions of the frames within the split.
        observations: Names of the observations to load.
        cameras: (B, N) positions within `Split.cameras` of each frame's training views to load. Required if the
            training views are among the observations, ignored otherwise.
    """

    indices: np.ndarray
    observations: tuple[str, ...]
    cameras: np.ndarray | None = None


class Split(ABC):
    """Gives access to the frames of one split ("train" or "held-out") of a capture.

    Attributes:
        segments: Name of each frame's segment, in order.
        numbers: (N,) int64 number of each frame within its segment.
        cameras: Names of the cameras of the training views.
    """

    segments: Sequence[str]
    numbers: np.ndarray
    cameras: Sequence[str]

    def __len__(self) -> int:
        return len(self.segments)

    @abstractmethod
    def load(self, request: FrameRequest) -> Frame:
        """Load a batch on the CPU. Must be safe to call from several threads and from forked processes.

        Raises:
            lipflow_core.errors.CaptureError: If a frame is damaged, naming the file.
        """


class Capture(ABC):
    """Provides the frames of a recorded or simulated subject.

    The `outputs` of the Config's plan list the shape of each tensor of each observation, named "OBSERVATION.TENSOR": a
    surface has `S.vertices` (V, 3) and `S.texture` (3, T, T), views have `V.images` (N, C, H, W) and `V.mask`
    (N, H, W), keypoints have `K.points` (K, 2) and `K.visible` (K,). They also list "topology.triangles": (F, 3) and
    "template.landmarks": (K,), and "template.regions.R": (V,) for each region R of the mesh. The `roles` of the plan
    name the observations that the core uses.

    Args:
        config: Options of the capture.
        given: Inputs of a capture; empty so far.
    """

    def __init__(self, config: Config, given: CaptureInputs):
        self.config = config
        self.given = given
        self.planned: Plan = config.plan(given)

    @abstractmethod
    def template(self) -> Template:
        """Return the constants of the subject: topology, means and scales, landmarks."""

    @abstractmethod
    def split(self, name: str) -> Split:
        """Open split "train" or "held-out". The first call may have to make its frames, and shows its progress then.

        Raises:
            lipflow_core.errors.CaptureError: If the split does not exist or has no frames.
        """

    @property
    @abstractmethod
    def identity(self) -> str:
        """Short hash of the capture's content, equal if and only if the frames are equal."""
