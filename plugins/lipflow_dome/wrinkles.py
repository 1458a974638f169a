"""Wrinkles of compressed skin: a height field over the resting face, in millimetres.

Wrinkles run across the forehead, upright between the brows, across the root of the nose, out from the eyes' outer
corners, from the wings of the nose to the corners of the mouth, and around pursed lips.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Points = np.ndarray

WAVELENGTHS = {"forehead": 11.0, "glabella": 10.0, "bridge": 8.0, "crow": 8.0, "nasolabial": 14.0, "lips": 7.0}
"""Distance between lines in millimetres, or twice the width of a single fold."""


def wrinkle_height(points: Points, anchors: Mapping[str, np.ndarray], footprint: np.ndarray) -> np.ndarray:
    """Give the height of fully folded skin over smooth skin.

    Args:
        points: (C, 3) on the resting face.
        anchors: Anatomical landmark → its position at rest.
        footprint: (C,) width of a texel in millimetres. Lines too fine for it are left out, since they would alias.

    Returns:
        (C,) millimetres, negative in furrows.
    """
    total = np.zeros(len(points))
    for name, (height, mask) in _fields(points, anchors).items():
        resolved = np.clip(WAVELENGTHS[name] / footprint / 1.5 - 1, 0, 1)
        total += height * mask * resolved
    return total


def wrinkle_slope(points: Points, anchors: Mapping[str, np.ndarray], footprint: np.ndarray) -> np.ndarray:
    """Give the gradient (C, 3) of `wrinkle_height` with respect to position, by central differences."""
    step = 0.05
    slope = np.empty(points.shape)
    for axis, offset in enumerate(step * np.eye(3)):
        ahead = wrinkle_height(points + offset, anchors, footprint)
        behind = wrinkle_height(points - offset, anchors, footprint)
        slope[:, axis] = (ahead - behind) / (2 * step)
    return slope


def _fields(points: Points, anchors: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    x, y, _ = points.T
    side = np.abs(x)
    front = _step(points[:, 2], 8, 20)
    eye_y = anchors["eye_left_top"][1]
    outer = anchors["eye_left_outer"]
    nose, nasion = anchors["nose_tip"], anchors["nasion"]
    mouth = 0.5 * (anchors["mouth_left"] + anchors["mouth_right"])
    corner = anchors["mouth_left"]

    forehead_y = y - eye_y - 26 + 3.0 * np.sin(x / 17 + 0.6)
    forehead = 0.55 * _lines(forehead_y, WAVELENGTHS["forehead"])
    forehead_mask = _step(y - eye_y, 20, 28) * (1 - _step(y - eye_y, 54, 66)) * (1 - _step(side, 34, 52)) * front

    glabella = 0.6 * _lines(x + 0.5 * WAVELENGTHS["glabella"], WAVELENGTHS["glabella"])
    glabella_mask = _bump(x, 0, 8) * _bump(y, eye_y + 14, 10) * front

    bridge = 0.4 * _lines(y - nasion[1] + 0.02 * x * x, WAVELENGTHS["bridge"])
    bridge_mask = _bump(x, 0, 12) * _bump(y, nasion[1] - 4, 9) * front

    reach = np.hypot(side - outer[0], y - outer[1])
    angle = np.arctan2(y - outer[1], side - outer[0] + 6)
    crow = 0.5 * _lines(angle * 16, WAVELENGTHS["crow"])
    crow_mask = _step(reach, 4, 9) * (1 - _step(reach, 20, 30)) * _step(side - outer[0], 0, 5) * (np.abs(angle) < 1.3)

    start = np.array([0.40 * outer[0], nose[1] + 4])
    end = np.array([corner[0] + 7, mouth[1] - 6])
    away, along = _from_line(np.stack([side, y], 1), start, end)
    bow = away - 4 * np.sin(np.pi * np.clip(along, 0, 1))
    nasolabial = -1.0 * _bump(bow, 0, WAVELENGTHS["nasolabial"] / 4)
    nasolabial_mask = _step(along, -0.1, 0.15) * (1 - _step(along, 0.9, 1.2)) * front

    around = np.hypot((x - mouth[0]) / 24, (y - mouth[1]) / 14)
    lips = 0.4 * _lines(x * (1 + 0.1 * around), WAVELENGTHS["lips"])
    lips_mask = _bump(around, 1.0, 0.35) * (1 - _step(side, 16, 26)) * front
    return {
        "forehead": (forehead, forehead_mask),
        "glabella": (glabella, glabella_mask),
        "bridge": (bridge, bridge_mask),
        "crow": (crow, crow_mask),
        "nasolabial": (nasolabial, nasolabial_mask),
        "lips": (lips, lips_mask),
    }


def _lines(distance: np.ndarray, wavelength: float) -> np.ndarray:
    """Give the height of parallel furrows, narrow with broad ridges between them."""
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * distance / wavelength)
    return -(wave**1.5)


def _bump(x: np.ndarray, center: float, width: float) -> np.ndarray:
    return np.exp(-(((x - center) / width) ** 2))


def _step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rise smoothly from 0 at low to 1 at high."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _from_line(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the signed distance from a line, and the position along it, 0 at its start and 1 at its end."""
    direction = (end - start) / np.linalg.norm(end - start)
    offset = points - start
    along = offset @ direction / np.linalg.norm(end - start)
    return offset @ np.array([-direction[1], direction[0]]), along
