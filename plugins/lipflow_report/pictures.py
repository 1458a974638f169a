"""Pictures of a report: read from an evaluation's folder, compared, and put into the page as data."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from lipflow_report.markup import Markup, tag

_HEAT = np.array(
    [[12, 16, 48], [50, 30, 120], [130, 35, 130], [205, 60, 90], [245, 130, 50], [252, 205, 90], [255, 255, 225]]
)
"""Colours of the difference maps at equal steps, dark to light, each lighter than the one before."""
_LIMITS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
PIXELATED_BELOW = 320
"""Pictures of fewer rows are magnified without smoothing."""


def read(path: Path) -> np.ndarray | None:
    """A PNG as (H, W, 3) in [0, 1], or None if it is not there."""
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float32) / 255


def difference(picture: np.ndarray, target: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """(H, W) mean absolute difference over the channels, NaN where the mask is empty."""
    error = np.abs(picture - target).mean(axis=2)
    return error if mask is None else np.where(mask[..., 0] > 0, error, np.nan)


def common_limit(differences: Iterable[np.ndarray]) -> float:
    """The value that the lightest colour stands for: the least round one that 95 % of all pixels stay below."""
    every = [error[np.isfinite(error)] for error in differences]
    values = np.concatenate(every) if every else np.zeros(0)
    high = float(np.quantile(values, 0.95)) if values.size else 0.0
    return next((limit for limit in _LIMITS if high <= limit), _LIMITS[-1])


def heat(error: np.ndarray, limit: float) -> np.ndarray:
    """(H, W) → (H, W, 4) uint8, transparent where it is NaN."""
    position = np.clip(np.nan_to_num(error) / limit, 0, 1) * (len(_HEAT) - 1)
    stops = np.arange(len(_HEAT))
    colour = np.stack([np.interp(position, stops, _HEAT[:, channel]) for channel in range(3)], axis=2)
    alpha = np.where(np.isfinite(error), 255, 0)
    return np.concatenate([colour, alpha[..., None]], axis=2).round().astype(np.uint8)


def heat_gradient() -> str:
    """The difference maps' colours as a CSS gradient, from left to right."""
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in _HEAT.tolist())
    return f"linear-gradient(to right, {stops})"


def image(picture: np.ndarray, alt: str, **attributes: object) -> Markup:
    """An <img> with its PNG inside; picture: (H, W, 3) in [0, 1], or (H, W, 4) uint8."""
    levels = picture if picture.dtype == np.uint8 else (picture * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    height, width = picture.shape[:2]
    style = "pixel" if height < PIXELATED_BELOW else None
    return tag(
        "img", src=f"data:image/png;base64,{data}", alt=alt, width=width, height=height, class_=style, **attributes
    )
