"""Options and plan of the headset encoder. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, NonNegativeFloat

from lipflow_core.config import Config, Size, WidthFactor
from lipflow_core.plans import EncoderInputs, Mismatch, Plan, Shape

CHANNELS = (32, 32, 32, 64, 64, 64, 128, 512)
"""Channels of each convolution for the paper's 480×640 pictures, from its compute counts (supplement, Table 10)."""


class PictureAugmentation(Config):
    """Random changes of headset pictures in training, drawn anew for each frame and epoch."""

    gain: NonNegativeFloat = Field(default=0.1, le=3)
    """Standard deviation of the logarithm of each picture's random gain; 0 for no gain."""
    offset: NonNegativeFloat = Field(default=0.02, le=1)
    """Standard deviation of each picture's random offset, for intensities in [0, 1]; 0 for no offset."""
    noise: NonNegativeFloat = Field(default=0.02, le=1)
    """Standard deviation of each pixel's random noise, for intensities in [0, 1]; 0 for no noise."""
    shift: NonNegativeFloat = Field(default=0.02, le=1)
    """Largest random shift of a picture, as a fraction of its width and height; 0 for no shift."""


class HmcEncoderConfig(Config):
    """Options of encoder `hmc`."""

    modality: str = "headset"
    """Name of the observation whose pictures are encoded."""
    channels: tuple[Size, ...] | None = None
    """Output channels of each stride-2 convolution, largest picture first. Null halves the pictures until the shorter
    side is 1 pixel, with the paper's channels for 480×640 pictures multiplied by `width`, and chooses the last number
    of channels so that the flattened map is `features` wide."""
    width: WidthFactor = 1.0
    """Factor on the channels if `channels` is null; a larger factor makes the encoder larger and slower."""
    features: Size = 1024
    """Width of each view's vector and of the features h that flows are conditioned on. If the flattened map has another
    width, a dense layer per view converts it."""
    augmentation: PictureAugmentation = PictureAugmentation()
    """Random changes of the pictures, applied in training when this is the driving encoder."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"width": 1 / 16, "features": 32},
        "small": {"width": 1 / 4, "features": 256},
        "medium": {"width": 1 / 2, "features": 512},
    }

    def plan(self, given: EncoderInputs) -> Plan:
        """Plan an encoder of the modality's pictures with outputs "mean", "log_std" and "features"."""
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
        """Return the output channels of each convolution for pictures (views, channels, H, W). Raises `Mismatch`."""
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
