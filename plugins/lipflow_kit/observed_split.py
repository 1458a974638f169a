"""The base of splits that give each observation of a frame by itself."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import FrameRequest, Split
from lipflow_core.records import Frame, Record
from lipflow_kit.observations import ROLES


class ObservedSplit(Split):
    """A split whose subclass gives one observation of some frames at a time; requests are checked here.

    A subclass sets `segments`, `numbers` and `cameras` and defines `observations` and `observe`.
    """

    @property
    @abstractmethod
    def observations(self) -> tuple[str, ...]:
        """Names of the observations that can be requested."""

    @abstractmethod
    def observe(self, name: str, frames: Any, cameras: np.ndarray | None) -> Record:
        """Give one observation.

        Args:
            name: One of `observations`.
            frames: Result of `select` for the requested positions.
            cameras: (B, N) positions within `cameras`; an array if `name` is the observation of the dome's cameras.
        """

    def select(self, indices: np.ndarray) -> Any:
        """Prepare what all observations of one request share; by default the positions (B,) themselves."""
        return indices

    def load(self, request: FrameRequest) -> Frame:
        indices = np.asarray(request.indices)
        cameras = None if request.cameras is None else np.asarray(request.cameras)
        _check_range("frames", indices, len(self))
        if cameras is not None:
            _check_range("cameras", cameras, len(self.cameras))
        for name in request.observations:
            if name not in self.observations:
                raise CaptureError(
                    f"the capture has no observation '{name}'", f"It has {', '.join(self.observations)}."
                )
            if name == ROLES.training_views and cameras is None:
                raise ValueError(f"the observation '{name}' needs `cameras` in the FrameRequest")
        frames = self.select(indices)
        return Frame(
            segments=tuple(self.segments[index] for index in indices.tolist()),
            numbers=torch.from_numpy(self.numbers[indices]),
            observations={name: self.observe(name, frames, cameras) for name in request.observations},
        )


def _check_range(what: str, indices: np.ndarray, count: int) -> None:
    if indices.size and (indices.min() < 0 or indices.max() >= count):
        wrong = indices.min() if indices.min() < 0 else indices.max()
        raise CaptureError(f"{what} are numbered 0 to {count - 1}; the request names {wrong}")
