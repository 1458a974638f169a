"""Calibrated cameras: those of the dome, a metre away all around, and those of the headset, close to eyes and mouth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lipflow_kit.cameras import look_at
from lipflow_kit.headset import HEADSET_NAMES, Anchors, headset_cameras

from lipflow_dome.config import DomeConfig
from lipflow_dome.head import Head

DISTANCE = 1000.0
"""Millimetres from the dome's centre to its cameras."""

CENTER = np.array([0.0, -8.0, -10.0])
"""The point that all dome cameras look at, in the middle of a head at rest. The neck's lower end is out of view."""

# (azimuth to the subject's left, elevation) in degrees; further cameras fill the gaps
FIRST = ((0, 0), (-38, 4), (38, 4), (-72, -6), (72, -6), (0, -32), (0, 36))


@dataclass(frozen=True)
class Rig:
    """A group of cameras with one picture size.

    Args:
        names: The cameras' names.
        intrinsics: (C, 3, 3) pixels.
        extrinsics: (C, 3, 4) [R|t], dome frame → camera. For a headset: from the frame of a head that it sits on
            perfectly → camera.
    """

    names: tuple[str, ...]
    intrinsics: np.ndarray
    extrinsics: np.ndarray


def dome_rig(config: DomeConfig) -> Rig:
    """Place the dome's cameras, "frontal" first."""
    height, width = config.image
    angles = np.radians(_directions(config.cameras))
    azimuth, elevation = angles.T
    direction = np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], 1
    )
    focal = DISTANCE * min(height / 246, width / 214)
    names = ("frontal", *(f"dome-{index:02d}" for index in range(1, config.cameras)))
    extrinsics = np.stack([look_at(CENTER + DISTANCE * toward, CENTER) for toward in direction])
    return Rig(names, _intrinsics(focal, height, width, config.cameras), extrinsics)


def _directions(count: int) -> np.ndarray:
    """Choose azimuths and elevations (count, 2) in degrees, each as far as possible from those before it."""
    azimuth, elevation = np.meshgrid(np.linspace(-112, 112, 57), np.linspace(-35, 50, 35))
    candidates = np.stack([azimuth.ravel(), elevation.ravel()], 1)
    chosen = [np.array(pair, np.float64) for pair in FIRST[:count]]
    while len(chosen) < count:
        distance = np.stack([_angle(candidates, other) for other in chosen]).min(0)
        chosen.append(candidates[int(distance.argmax())])
    return np.stack(chosen)


def _angle(directions: np.ndarray, other: np.ndarray) -> np.ndarray:
    (a, e), (b, f) = np.radians(directions).T, np.radians(other)
    return np.arccos(np.clip(np.sin(e) * np.sin(f) + np.cos(e) * np.cos(f) * np.cos(a - b), -1, 1))


def headset_rig(config: DomeConfig, head: Head) -> Rig:
    """Place the headset's cameras on a head: right eye, left eye, mouth."""
    left, right = head.eye_centers
    mouth = head.neutral[[head.asset.anchors["mouth_left"], head.asset.anchors["mouth_right"]]].mean(0)
    return Rig(HEADSET_NAMES, *headset_cameras(config.headset.size, Anchors(right, left, mouth)))


def _intrinsics(focal: float, height: int, width: int, count: int) -> np.ndarray:
    matrix = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return np.repeat(matrix[None], count, axis=0)
