"""Options and plans of the Deep Appearance Model. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lipflow_core.config import Config, Size, WidthFactor
from lipflow_core.plans import DecoderInputs, EncoderInputs, Mismatch, Plan, Shape

SMALLEST = 4
"""Side in pixels of the smallest feature map: the encoder's texture branch ends in it, the decoder's starts from it."""

ENCODER_CHANNELS = (32, 32, 64, 64, 128, 128, 256, 256)
DECODER_CHANNELS = (128, 128, 64, 64, 32, 32, 32, 3)
"""Channels after each layer for the paper's 1024² texture, derived from its compute counts (supplement, Table 10)."""


class DamEncoderConfig(Config):
    """Options of encoder `dam`."""

    channels: tuple[Size, ...] | None = None
    """Output channels of each stride-2 convolution of the texture branch, largest picture first; a texture of T × T
    needs log2(T / 4) of them. Null uses the paper's channels for 1024² textures, the last of them for smaller textures,
    multiplied by `width`."""
    width: WidthFactor = 1.0
    """Factor on the channels if `channels` is null; a larger factor makes the encoder larger and slower."""
    hidden: Size = 256
    """Width of the mesh branch and of the joined layer, whose output, the features h, conditions flows."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"width": 1 / 32, "hidden": 16},
        "small": {"width": 1 / 8, "hidden": 64},
        "medium": {"width": 1 / 2, "hidden": 128},
    }

    def plan(self, given: EncoderInputs) -> Plan:
        """Plan an encoder of the capture's surface with outputs "mean", "log_std" and "features"."""
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
        """Return the output channels of each convolution for a texture (3, T, T). Raises `Mismatch`."""
        count = halvings("encoder 'dam'", texture)
        if self.channels is None:
            return tuple(max(1, round(c * self.width)) for c in stretched(ENCODER_CHANNELS, count))
        check_ladder("encoder 'dam'", self.channels, texture, count)
        return self.channels


class DamDecoderConfig(Config):
    """Options of decoder `dam`."""

    channels: tuple[Size, ...] | None = None
    """Output channels of each transposed convolution, smallest picture first, the last 3; a texture of T × T needs
    log2(T / 4) of them. Null uses the paper's channels for 1024² textures, the last ones for smaller textures, with
    the hidden channels multiplied by `width`."""
    width: WidthFactor = 1.0
    """Factor on the hidden channels if `channels` is null; a larger factor makes the decoder larger and slower."""
    hidden: Size = 256
    """Width of the first layer, which takes the code."""
    view_hidden: Size = 8
    """Width of the layer that takes the view direction."""
    start_channels: Size = 256
    """Channels of the 4×4 feature map that the first transposed convolution takes."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"width": 1 / 8, "hidden": 16, "view_hidden": 4, "start_channels": 16},
        "small": {"width": 3 / 4, "hidden": 128, "start_channels": 64},
        "medium": {"hidden": 192, "start_channels": 128},
    }

    def plan(self, given: DecoderInputs) -> Plan:
        """Plan a decoder with outputs "vertices" (V, 3) and "texture" (3, T, T)."""
        self.ladder(given.texture)
        return Plan(
            inputs={"code": (given.code,), "view_direction": (3,)},
            outputs={"vertices": (given.vertices, 3), "texture": given.texture},
        )

    def ladder(self, texture: Shape) -> tuple[int, ...]:
        """Return the output channels of each transposed convolution for a texture (3, T, T). Raises `Mismatch`."""
        count = halvings("decoder 'dam'", texture)
        if self.channels is None:
            hidden = stretched(DECODER_CHANNELS, count)[:-1]
            return (*(max(1, round(c * self.width)) for c in hidden), 3)
        check_ladder("decoder 'dam'", self.channels, texture, count)
        if self.channels[-1] != 3:
            raise Mismatch(f"decoder 'dam': channels must end in 3, the texture's colours; got {self.channels[-1]}")
        return self.channels


def halvings(who: str, texture: Shape) -> int:
    """Count the halvings of a texture (3, T, T) to 4×4. Raises `Mismatch` unless T is 8, 16, 32, …"""
    if len(texture) != 3 or texture[0] != 3 or texture[1] != texture[2]:
        raise Mismatch(f"{who} takes a square RGB texture (3, T, T), the capture's texture is {texture}")
    side = texture[-1]
    count = (side // SMALLEST).bit_length() - 1
    if count < 1 or SMALLEST << count != side:
        below = SMALLEST << max(count, 1)
        above = below if below > side else below * 2
        fits = f"{below}" if below == above else f"{below} or {above}"
        raise Mismatch(
            f"{who} halves the texture down to {SMALLEST}×{SMALLEST}, so its side must be a power of two, at least 8; "
            f"the capture's texture is {side}×{side}; use {fits}"
        )
    return count


def check_ladder(who: str, channels: tuple[int, ...], texture: Shape, count: int) -> None:
    """Raise `Mismatch` unless there is one layer for each halving of the texture."""
    if len(channels) != count:
        side = texture[-1]
        raise Mismatch(
            f"{who}: the option channels lists {len(channels)} layers, but the capture's texture {side}×{side} needs "
            f"{count} layers between {side}×{side} and {SMALLEST}×{SMALLEST}; give {count} numbers, or null"
        )


def stretched(ladder: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Take the last `count` entries of a ladder, after repeating its first entry if it is too short."""
    return (ladder[0],) * (count - len(ladder)) + ladder[max(0, len(ladder) - count) :]
