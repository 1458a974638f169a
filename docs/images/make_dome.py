"""Make docs/images/dome.png: `python docs/images/make_dome.py`, about a minute.

Four frames of p02 as five cameras of the dome see them, then the three of the headset.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from einops import rearrange
from lipflow_dome.capture import DomeCapture
from lipflow_dome.config import DomeConfig
from PIL import Image

from lipflow_core.interfaces import FrameRequest
from lipflow_core.plans import CaptureInputs
from lipflow_core.selection import spread

FRAMES = 4
CAMERAS = (0, 1, 2, 3, 4)
SIZE = 192


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        options = {
            "subject": "p02",
            "texture": 512,
            "image": (SIZE, SIZE),
            "cameras": 5,
            "headset": {"size": (SIZE * 3 // 4, SIZE)},
            "sequences": 60,
            "held_out_sequences": 1,
            "frames_per_sequence": 3,
            "cache": cache,
        }
        split = DomeCapture(DomeConfig(**options), CaptureInputs()).split("train")
        # The middle one of three is the apex of an expression.
        peaks = [i for i, name in enumerate(split.segments) if name.startswith("EXP_")][1::3]
        middles = [peaks[i] for i in spread(FRAMES, len(peaks))]
        cameras = np.tile(np.array(CAMERAS), (len(middles), 1))
        frame = split.load(FrameRequest(np.array(middles), ("dome", "headset"), cameras))
    rows = []
    for dome, headset in zip(frame["dome"].images, frame["headset"].images, strict=True):
        seen = np.repeat(headset.numpy(), 3 // headset.shape[1], axis=1)
        seen = np.pad(seen, ((0, 0), (0, 0), (SIZE // 8, SIZE // 8), (0, 0)))
        rows.append(np.concatenate([rearrange(x, "n c h w -> h (n w) c") for x in (dome.numpy(), seen)], axis=1))
    picture = (255 * np.concatenate(rows).clip(0, 1)).round().astype(np.uint8)
    Image.fromarray(picture).save(Path(__file__).with_name("dome.png"), optimize=True)


if __name__ == "__main__":
    main()
