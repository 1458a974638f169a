"""What the tests of captures share: one tiny simulated capture, as it is and as it was written to disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from lipflow_dome.capture import DomeCapture
from lipflow_dome.config import DomeConfig
from lipflow_multiface.capture import MultifaceCapture
from lipflow_multiface.config import MultifaceConfig
from lipflow_multiface.writing import write_capture

from lipflow_core.interfaces import FrameRequest
from lipflow_core.plans import CaptureInputs, RendererInputs

OPTIONS = {
    "subject": "p05",
    "texture": 32,
    "image": (40, 32),
    "cameras": 3,
    "headset": {"size": (24, 32)},
    "sequences": 2,
    "held_out_sequences": 2,
    "frames_per_sequence": 2,
    "keypoint_noise": 0.3,
    "workers": 1,
}


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """A capture of the dome: 4 training and 4 held-out frames, 3 cameras of 40 × 32."""
    return DomeCapture(DomeConfig(**OPTIONS, cache=tmp_path_factory.mktemp("dome")), CaptureInputs())


@pytest.fixture(scope="session")
def renderer(simulated):
    """The renderer `cpu` for the simulated capture."""
    given = RendererInputs(device="cpu", vertices=6109, triangles=11958, texture=(3, 32, 32))
    return simulated.config.renderer.build(given)


@pytest.fixture(scope="session")
def written(simulated, renderer, tmp_path_factory) -> Path:
    """The simulated capture on disk. Not to be changed: take `damaged` for that."""
    folder = tmp_path_factory.mktemp("captures") / "subject"
    write_capture(simulated, folder, renderer, style="none")
    return folder


@pytest.fixture
def damaged(written, tmp_path) -> Path:
    """A copy of the capture on disk that a test may change."""
    return Path(shutil.copytree(written, tmp_path / "subject"))


@pytest.fixture
def read(tmp_path):
    """Open a folder as capture `multiface`, with options."""

    def read(folder: Path, **options) -> MultifaceCapture:
        return MultifaceCapture(
            MultifaceConfig(path=folder, **{"cache": tmp_path / "packed", **options}), CaptureInputs()
        )

    return read


@pytest.fixture
def load():
    """Load frames of a split with every dome camera; all frames and observations by default."""

    def load(split, frames=None, observations=("face", "dome", "frontal", "headset", "keypoints")):
        frames = np.arange(len(split)) if frames is None else np.array(frames)
        cameras = np.tile(np.arange(len(split.cameras)), (len(frames), 1))
        return split.load(FrameRequest(frames, tuple(observations), cameras))

    return load
