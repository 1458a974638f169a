"""The spoiled capture's frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lipflow_dome.capture import DomeCapture
from lipflow_dome.config import DomeConfig

from lipflow_core.interfaces import Capture, FrameRequest, Split
from lipflow_core.records import Frame


class SpoiledSplit(Split):
    def __init__(self, sound: Split, config):
        self._sound, self._config = sound, config
        kept = 0 if config.empty else len(sound)
        self.segments, self.numbers, self.cameras = sound.segments[:kept], sound.numbers[:kept], sound.cameras

    def load(self, request: FrameRequest) -> Frame:
        config = self._config
        last = torch.from_numpy(np.asarray(request.indices) == len(self) - 1)
        if config.diary:
            with open(config.diary, "a", encoding="utf-8") as diary:
                diary.write(f"{list(map(int, request.indices))}\n")
        if last.any() and Path(config.stop or "nowhere").is_file():
            raise KeyboardInterrupt
        frame = self._sound.load(request)
        for observation, value in ((config.nan, torch.nan), (config.hidden, 0.0)):
            if observation in frame.observations and last.any():
                frame = _with(frame, observation, value, last)
        return frame


def _with(frame: Frame, name: str, value: float, rows: torch.Tensor) -> Frame:
    """The frame with NaN in a picture or vertices of some rows, or zero in their masks."""
    observation = frame[name]
    field = "mask" if value == 0 else "images" if hasattr(observation, "images") else "vertices"
    tensor = getattr(observation, field).clone()
    tensor[rows] = value
    return replace(frame, observations={**frame.observations, name: replace(observation, **{field: tensor})})


class SpoiledCapture(Capture):
    def __init__(self, config, given):
        super().__init__(config, given)
        fields = {name: getattr(config, name) for name in DomeConfig.model_fields}
        self._dome = DomeCapture(DomeConfig.model_construct(**fields), given)

    def template(self):
        return self._dome.template()

    def split(self, name: str) -> Split:
        return SpoiledSplit(self._dome.split(name), self.config)

    @property
    def identity(self) -> str:
        return f"{self._dome.identity}-{self.config.nan}-{self.config.empty}-{self.config.hidden}"
