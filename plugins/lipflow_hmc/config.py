"""Options of the headset encoder and what they make. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from lipflow_core.config import Config
from lipflow_core.plans import EncoderInputs, Mismatch, Plan, Shape

CHANNELS = (32, 32, 32, 64, 64, 64, 128, 512)
"""Channels by convolution at the paper's 480×640 pictures, read off its compute count (supplement, Table 10)."""


class PictureAugmentation(Config):
    """Random changes of headset pictures in training, drawn anew for each frame and epoch."""

    gain: NonNegativeFloat = 0.1
    """Standard deviation of the logarithm of a gain for each picture."""
    offset: NonNegativeFloat = 0.02
    """Standard deviation of an offset for each picture, an intensity in [0, 1]."""
    noise: NonNegativeFloat = 0.02
    """Standard deviation of noise for each pixel, an intensity in [0, 1]."""
    shift: NonNegativeFloat = 0.02
    """Largest shift of a picture, as a share of its width and height."""


class HmcEncoderConfig(Config):
    """Options of encoder `hmc`."""

    modality: str = "headset"
    """Observation whose pictures are encoded."""
    channels: tuple[PositiveInt, ...] | None = None
    """Output channels of each stride-2 convolution, largest picture first. Null takes as many as bring the shorter side
    of the picture to 1 pixel, the last of the paper's ladder for 480×640 pictures, times `width`; the last of them has
    as many channels as make the flattened map `features` wide."""
    width: PositiveFloat = 1.0
    """Factor on the channels of a ladder that is not given."""
    features: PositiveInt = 1024
    """Width of each view's vector h* and of the features h. Where the flattened map has another width, a dense layer
    per view brings it there."""
    augmentation: PictureAugmentation = PictureAugmentation()
    """Random changes of the pictures that this encoder sees in training as the driving encoder."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"width": 1 / 16, "features": 32},
        "small": {"width": 1 / 4, "features": 256},
        "medium": {"width": 1 / 2, "features": 512},
    }

    def plan(self, given: EncoderInputs) -> Plan:
        """Needs pictures of the modality; makes "mean", "log_std" and "features"."""
        images = given.observations.get(self.modality, {}).get("images")
        if images is None:
            offered = ", ".join(f"'{name}'" for name in given.observations) or "none"
            raise Mismatch(
                f"encoder 'hmc' encodes pictures of the observation '{self.modality}', which the capture does not "
                f"have; it offers {offered}; set its option modality to one that has pictures"
            )
        if len(images) != 4:
            raise Mismatch(f"encoder 'hmc' takes pictures (views, channels, H, W), the capture gives {images}")
        self.ladder(images)
        return Plan(
            inputs={f"{self.modality}.images": images},
            outputs={"mean": (given.code,), "log_std": (given.code,), "features": (self.features,)},
            needs=(self.modality,),
        )

    def ladder(self, images: Shape) -> tuple[int, ...]:
        """Output channels of each convolution for pictures (views, channels, H, W). Raises `Mismatch`."""
        height, width = images[-2:]
        possible = min(height, width).bit_length() - 1
        if possible < 1:
            raise Mismatch(
                f"encoder 'hmc' needs pictures of at least 2×2 pixels, the capture's {self.modality} pictures are "
                f"{height}×{width}; use larger ones"
            )
        if self.channels is not None:
            if not 1 <= len(self.channels) <= possible:
                raise Mismatch(
                    f"encoder 'hmc': the option channels lists {len(self.channels)} layers, but the capture's "
                    f"{self.modality} pictures of {height}×{width} can be halved {possible} times; give 1 to "
                    f"{possible} numbers, or null"
                )
            return self.channels
        hidden = CHANNELS[max(0, len(CHANNELS) - possible) : -1]
        hidden = (CHANNELS[0],) * (possible - 1 - len(hidden)) + hidden
        pixels = (height >> possible) * (width >> possible)
        last = self.features // pixels if self.features % pixels == 0 else max(1, round(CHANNELS[-1] * self.width))
        return (*(max(1, round(c * self.width)) for c in hidden), last)
