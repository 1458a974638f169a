"""The spoiled capture's frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from lipflow_dome.capture import DomeCapture
from lipflow_dome.config import DomeConfig

from lipflow_core.interfaces import Capture, FrameRequest, Split
from lipflow_core.records import Frame


class SpoiledSplit(Split):
    def __init__(self, sound: Split, nan: str, empty: bool):
        self._sound, self._nan = sound, nan
        kept = 0 if empty else len(sound)
        self.segments, self.numbers, self.cameras = sound.segments[:kept], sound.numbers[:kept], sound.cameras

    def load(self, request: FrameRequest) -> Frame:
        frame = self._sound.load(request)
        last = torch.from_numpy(np.asarray(request.indices) == len(self) - 1)
        if self._nan not in frame.observations or not last.any():
            return frame

        def spoil(tensor: torch.Tensor) -> torch.Tensor:
            tensor = tensor.clone()
            tensor[last] = torch.nan
            return tensor

        observation = frame[self._nan]
        name = "images" if hasattr(observation, "images") else "vertices"
        spoiled = replace(observation, **{name: spoil(getattr(observation, name))})
        return replace(frame, observations={**frame.observations, self._nan: spoiled})


class SpoiledCapture(Capture):
    def __init__(self, config, given):
        super().__init__(config, given)
        fields = {name: getattr(config, name) for name in DomeConfig.model_fields}
        self._dome = DomeCapture(DomeConfig.model_construct(**fields), given)

    def template(self):
        return self._dome.template()

    def split(self, name: str) -> Split:
        return SpoiledSplit(self._dome.split(name), self.config.nan, self.config.empty)

    @property
    def identity(self) -> str:
        return f"{self._dome.identity}-{self.config.nan}-{self.config.empty}"
