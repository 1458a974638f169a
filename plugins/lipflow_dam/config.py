"""Options of the Deep Appearance Model and what they make. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import PositiveFloat, PositiveInt

from lipflow_core.config import Config
from lipflow_core.plans import DecoderInputs, EncoderInputs, Mismatch, Plan, Shape

SMALLEST = 4
"""Side in pixels of the feature map that the texture branches end in and start from."""

ENCODER_CHANNELS = (32, 32, 64, 64, 128, 128, 256, 256)
DECODER_CHANNELS = (128, 128, 64, 64, 32, 32, 32, 3)
"""Channels after each layer at the paper's 1024² texture; read off its compute counts (paper, supplement, Table 10)."""


class DamEncoderConfig(Config):
    """Options of encoder `dam`."""

    channels: tuple[PositiveInt, ...] | None = None
    """Output channels of each stride-2 convolution of the texture branch, largest picture first; their number must be
    log2(T / 4). Null takes the last of the paper's ladder for 1024² textures, times `width`."""
    width: PositiveFloat = 1.0
    """Factor on the channels of a ladder that is not given."""
    hidden: PositiveInt = 256
    """Width of the mesh branch and of the joined layer, whose output is the features h."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"width": 1 / 32, "hidden": 16},
        "small": {"width": 1 / 8, "hidden": 64},
        "medium": {"width": 1 / 2, "hidden": 128},
    }

    def plan(self, given: EncoderInputs) -> Plan:
        """Needs the capture's surface; makes "mean", "log_std" and "features"."""
        surface = given.roles.surface
        vertices, texture = (given.observations[surface][tensor] for tensor in ("vertices", "texture"))
        if len(vertices) != 2 or vertices[1] != 3:
            raise Mismatch(f"encoder 'dam' takes vertices (V, 3), the capture gives {vertices}")
        self.ladder(texture)
        return Plan(
            inputs={f"{surface}.vertices": vertices, f"{surface}.texture": texture},
            outputs={"mean": (given.code,), "log_std": (given.code,), "features": (self.hidden,)},
            needs=(surface,),
        )

    def ladder(self, texture: Shape) -> tuple[int, ...]:
        """Output channels of each convolution for a texture (3, T, T). Raises `Mismatch`."""
        count = halvings("encoder 'dam'", texture)
        if self.channels is None:
            return tuple(max(1, round(c * self.width)) for c in stretched(ENCODER_CHANNELS, count))
        check_ladder("encoder 'dam'", self.channels, texture, count)
        return self.channels


class DamDecoderConfig(Config):
    """Options of decoder `dam`."""

    channels: tuple[PositiveInt, ...] | None = None
    """Output channels of each transposed convolution, smallest picture first, ending in 3; their number must be log2(T
    / 4). Null takes the last of the paper's ladder for 1024² textures, times `width`."""
    width: PositiveFloat = 1.0
    """Factor on the hidden channels of a ladder that is not given."""
    hidden: PositiveInt = 256
    """Width of the layer on the code."""
    view_hidden: PositiveInt = 8
    """Width of the layer on the view direction."""
    start_channels: PositiveInt = 256
    """Channels of the 4×4 feature map that the texture grows from."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"width": 1 / 8, "hidden": 16, "view_hidden": 4, "start_channels": 16},
        "small": {"width": 3 / 4, "hidden": 128, "start_channels": 64},
        "medium": {"hidden": 192, "start_channels": 128},
    }

    def plan(self, given: DecoderInputs) -> Plan:
        """Makes "vertices" (V, 3) and "texture" (3, T, T)."""
        self.ladder(given.texture)
        return Plan(
            inputs={"code": (given.code,), "view_direction": (3,)},
            outputs={"vertices": (given.vertices, 3), "texture": given.texture},
        )

    def ladder(self, texture: Shape) -> tuple[int, ...]:
        """Output channels of each transposed convolution for a texture (3, T, T). Raises `Mismatch`."""
        count = halvings("decoder 'dam'", texture)
        if self.channels is None:
            hidden = stretched(DECODER_CHANNELS, count)[:-1]
            return (*(max(1, round(c * self.width)) for c in hidden), 3)
        check_ladder("decoder 'dam'", self.channels, texture, count)
        if self.channels[-1] != 3:
            raise Mismatch(f"decoder 'dam': channels must end in 3, the texture's colours; got {self.channels[-1]}")
        return self.channels


def halvings(who: str, texture: Shape) -> int:
    """How often a texture (3, T, T) can be halved until it is 4×4. Raises `Mismatch` unless T is 8, 16, 32, …"""
    if len(texture) != 3 or texture[0] != 3 or texture[1] != texture[2]:
        raise Mismatch(f"{who} takes a square RGB texture (3, T, T), the capture's texture is {texture}")
    side = texture[-1]
    count = (side // SMALLEST).bit_length() - 1
    if count < 1 or SMALLEST << count != side:
        below = SMALLEST << max(count, 1)
        above = below if below > side else below * 2
        fits = f"{below}" if below == above else f"{below} or {above}"
        raise Mismatch(
            f"{who} halves the texture down to {SMALLEST}×{SMALLEST}, so its side must be a power of two from 8 on; "
            f"the capture's texture is {side}×{side}: {fits} would fit"
        )
    return count


def check_ladder(who: str, channels: tuple[int, ...], texture: Shape, count: int) -> None:
    """Raise `Mismatch` unless there is one layer for each halving of the texture."""
    if len(channels) != count:
        side = texture[-1]
        raise Mismatch(
            f"{who}: the option channels lists {len(channels)} layers, but the capture's texture {side}×{side} takes "
            f"{count} of them between {side}×{side} and {SMALLEST}×{SMALLEST}; give {count} numbers, or null"
        )


def stretched(ladder: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The last `count` of a ladder, its first repeated in front where it is too short."""
    return (ladder[0],) * (count - len(ladder)) + ladder[max(0, len(ladder) - count) :]
