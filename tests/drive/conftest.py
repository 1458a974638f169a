"""A model that headset pictures drive, and a folder of pictures of another look than those that it was trained on."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lipflow_core
from lipflow_core.plans import CaptureInputs
from lipflow_core.png import encode_png
from lipflow_core.splits import load_frames

VIEWS = ("right-eye", "left-eye", "mouth")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Model directory of a driven system, trained for a few steps."""
    folder = tmp_path_factory.mktemp("driven")
    lipflow_core.train(lipflow_core.load_spec("lip-flow-hmc", ["preset=tiny"]), folder / "model")
    return folder / "model"


@pytest.fixture(scope="session")
def real_frames():
    """Frames filmed by a headset with other light, noise and background, that does not slip."""
    headset = "capture.headset={gain: 0.8, offset: 0.1, noise: 0.08, background: 0.9, slip: 0}"
    spec = lipflow_core.load_spec("lip-flow-hmc", ["preset=tiny", headset])
    split = spec.capture.build(CaptureInputs()).split("held-out")
    return load_frames(split, np.arange(3), ("headset",))["headset"]


@pytest.fixture
def pictures(real_frames, tmp_path):
    """Write the pictures into a folder as a user has them: `pictures(scale=2, cameras=True)` → the folder."""

    def write(scale: int = 1, cameras: bool = False):
        folder = tmp_path / f"pictures-{scale}-{cameras}"
        levels = (real_frames.images * 255).round().byte().numpy()
        for column, view in enumerate(VIEWS):
            (folder / view).mkdir(parents=True)
            for row in range(len(levels)):
                picture = np.kron(levels[row, column, 0], np.ones((scale, scale), np.uint8))
                (folder / view / f"shot-{row}.png").write_bytes(encode_png(picture[..., None]))
        if cameras:
            camera = real_frames.camera
            enlarged = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
            content = {
                view: {
                    "size": [camera.height * scale, camera.width * scale],
                    "intrinsics": (enlarged @ camera.intrinsics[0, column].double().numpy()).tolist(),
                    "extrinsics": camera.extrinsics[0, column].tolist(),
                }
                for column, view in enumerate(VIEWS)
            }
            (folder / "cameras.json").write_text(json.dumps(content))
        return folder

    return write
