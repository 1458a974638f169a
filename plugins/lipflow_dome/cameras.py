"""Calibrated cameras: the dome's, a metre away all around, and the headset's, a hand's breadth from eyes and mouth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipflow_dome.config import DomeConfig
from lipflow_dome.head import Head

DISTANCE = 1000.0
"""Millimetres from the dome's centre to its cameras."""

CENTER = np.array([0.0, -8.0, -10.0])
"""The dome's centre: the middle of a head at rest, the neck's lower end out of the picture."""

# (azimuth to the subject's left, elevation) in degrees; further cameras fill the gaps
FIRST = ((0, 0), (-38, 4), (38, 4), (-72, -6), (72, -6), (0, -32), (0, 36))
HEADSET_NAMES = ("right-eye", "left-eye", "mouth")


@dataclass(frozen=True)
class Rig:
    """Cameras of one picture size.

    Args:
        names: Their names.
        intrinsics: (C, 3, 3) pixels.
        extrinsics: (C, 3, 4) [R|t], dome frame → camera, or for a headset the frame of a head that it sits on
            perfectly → camera.
    """

    names: tuple[str, ...]
    intrinsics: np.ndarray
    extrinsics: np.ndarray


def dome_rig(config: DomeConfig) -> Rig:
    """The dome's cameras, "frontal" first."""
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
    """Azimuths and elevations of `count` cameras, each new one far from those before it; (count, 2) degrees."""
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
    """The headset's cameras, fitted to a head: right eye, left eye, mouth."""
    height, width = config.headset
    left, right = head.eye_centers
    mouth = head.neutral[[head.asset.anchors["mouth_left"], head.asset.anchors["mouth_right"]]].mean(0)
    extrinsics = np.stack(
        [
            look_at(right + np.array([-24, -14, 70]), right + np.array([1, 1, 8])),
            look_at(left + np.array([24, -14, 70]), left + np.array([-1, 1, 8])),
            look_at(mouth + np.array([0, -46, 74]), mouth + np.array([0, -4, 4])),
        ]
    )
    focal = 0.5 * width / np.tan(np.radians(84 / 2))
    return Rig(HEADSET_NAMES, _intrinsics(focal, height, width, 3), extrinsics)


def _intrinsics(focal: float, height: int, width: int, count: int) -> np.ndarray:
    matrix = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return np.repeat(matrix[None], count, axis=0)


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """[R|t] (3, 4) of an upright OpenCV camera at a position, its optical axis through a target."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return np.concatenate([rotation, -(rotation @ position)[:, None]], axis=1)


def compose(extrinsics: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Cameras as a head sees them that moved by a pose: (C, 3, 4) after (N, 3, 4) → (N, C, 3, 4)."""
    rotation = np.einsum("cij,njk->ncik", extrinsics[:, :, :3], pose[:, :, :3])
    translation = np.einsum("cij,nj->nci", extrinsics[:, :, :3], pose[:, :, 3]) + extrinsics[:, :, 3]
    return np.concatenate([rotation, translation[..., None]], axis=-1)


def positions(extrinsics: np.ndarray) -> np.ndarray:
    """Centres of projection (…, 3) in the frame that the extrinsics (…, 3, 4) map from."""
    return -np.einsum("...ji,...j->...i", extrinsics[..., :3], extrinsics[..., 3])


def enlarge(intrinsics: np.ndarray, factor: int) -> np.ndarray:
    """Intrinsics of a picture `factor` times as large whose box-filtered reduction is the original picture.

    A pixel centre at x lies in the middle of the pixels from factor·x to factor·x + factor − 1.
    """
    scaled = intrinsics.copy()
    scaled[..., :2, :] *= factor
    scaled[..., :2, 2] += (factor - 1) / 2
    return scaled


def project(points: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray) -> np.ndarray:
    """Pixel coordinates (N, K, 2) of points (N, K, 3); intrinsics (3, 3), extrinsics (N, 3, 4)."""
    in_camera = np.einsum("nij,nkj->nki", extrinsics[:, :, :3], points) + extrinsics[:, None, :, 3]
    homogeneous = np.einsum("ij,nkj->nki", intrinsics, in_camera)
    return homogeneous[..., :2] / homogeneous[..., 2:]
