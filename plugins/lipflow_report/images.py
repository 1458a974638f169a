"""Pictures of a report: read from an evaluation's folder, compared, and encoded as data that stands in the page."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lipflow_core.errors import ResultError

_HEAT = np.array(
    [[12, 16, 48], [50, 30, 120], [130, 35, 130], [205, 60, 90], [245, 130, 50], [252, 205, 90], [255, 255, 225]]
)
"""Colours of the difference maps at equal steps, dark to light, each lighter than the one before."""
_LIMITS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_PIXELATED_BELOW = 320
"""Pictures of fewer rows are magnified without smoothing."""
_LARGEST = 1 << 26
"""Pixels of the largest picture that is read."""


@dataclass(frozen=True)
class Inlined:
    """Holds a picture that is part of the page.

    Args:
        data: PNG file in base 64.
        alt: Description of the picture in words.
        width: Width in pixels.
        height: Height in pixels.
    """

    data: str
    alt: str
    width: int
    height: int

    @property
    def pixelated(self) -> bool:
        """Whether it is magnified without smoothing."""
        return self.height < _PIXELATED_BELOW


def read(path: Path) -> np.ndarray | None:
    """Read a PNG as (H, W, 3) in [0, 1]; None if it is not there.

    Raises:
        lipflow_core.errors.ResultError: If it is damaged or too large.
    """
    if not path.is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > _LARGEST:
                    raise ValueError(f"it has {image.width}×{image.height} pixels")
                return np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ResultError(f"{path}: can't be read: {error}", "Run lipflow-core evaluate again.") from error


def difference(picture: np.ndarray, target: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Take the mean absolute difference over the channels, (H, W), NaN where the mask is empty."""
    error = np.abs(picture - target).mean(axis=2)
    return error if mask is None else np.where(mask[..., 0] > 0, error, np.nan)


def common_limit(differences: Iterable[np.ndarray]) -> float:
    """Choose what the lightest colour stands for: the least round value that 95 % of all pixels stay below."""
    every = [error[np.isfinite(error)] for error in differences]
    values = np.concatenate(every) if every else np.zeros(0)
    high = float(np.quantile(values, 0.95)) if values.size else 0.0
    return next((limit for limit in _LIMITS if high <= limit), _LIMITS[-1])


def heat(error: np.ndarray, limit: float) -> np.ndarray:
    """Colour a difference map: (H, W) → (H, W, 4) uint8, transparent where it is NaN."""
    position = np.clip(np.nan_to_num(error) / limit, 0, 1) * (len(_HEAT) - 1)
    stops = np.arange(len(_HEAT))
    colour = np.stack([np.interp(position, stops, _HEAT[:, channel]) for channel in range(3)], axis=2)
    alpha = np.where(np.isfinite(error), 255, 0)
    return np.concatenate([colour, alpha[..., None]], axis=2).round().astype(np.uint8)


def heat_gradient() -> str:
    """Write the difference maps' colours as a CSS gradient, from left to right."""
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in _HEAT.tolist())
    return f"linear-gradient(to right, {stops})"


def inlined(picture: np.ndarray, alt: str) -> Inlined:
    """Encode a picture, (H, W, 3) in [0, 1] or (H, W, 4) uint8."""
    levels = picture if picture.dtype == np.uint8 else (picture * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG", optimize=True)
    height, width = picture.shape[:2]
    return Inlined(base64.b64encode(buffer.getvalue()).decode(), alt, width, height)
