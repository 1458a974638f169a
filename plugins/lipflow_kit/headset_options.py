"""Options of virtual headset pictures, one text for all captures. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from lipflow_core.config import Config
from lipflow_kit.picture_sizes import PictureSize


class HeadsetOptions(Config):
    """Size, slip and lighting of the pictures of three virtual headset cameras."""

    size: PictureSize = (480, 640)
    """Height and width of headset pictures in pixels."""
    slip: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Scale of the headset's random slip on the face. 1 is a standard deviation of 2° and 1.5 mm; 0 is no slip."""
    gain: Annotated[float, Field(ge=0, le=5)] = 0.10
    """Standard deviation of the natural logarithm of each headset picture's random gain; 0 leaves the gain at 1."""
    offset: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Standard deviation of the random brightness that is added to each headset picture, where 1 is white."""
    gradient: Annotated[float, Field(ge=0, le=5)] = 0.08
    """Standard deviation of the random change of the gain from one edge of a headset picture to the opposite one."""
    background: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Brightest grey behind the face in headset pictures, from 0 (black) to 1 (white)."""
    noise: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Standard deviation of the noise of each pixel of a headset picture, where 1 is white."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"size": (24, 32)},
        "small": {"size": (48, 64)},
        "medium": {"size": (120, 160)},
    }
