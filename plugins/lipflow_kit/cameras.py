"""Cameras as arrays: placing them, moving them with a head, projecting, and resizing. Imports no torch."""

from __future__ import annotations

import numpy as np


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Give [R|t] (3, 4) of an upright OpenCV camera at a position that looks at a target, both (3,)."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return np.concatenate([rotation, -(rotation @ position)[:, None]], axis=1)


def compose(extrinsics: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Apply poses (N, 3, 4) before the extrinsics (C, 3, 4) of cameras: → (N, C, 3, 4)."""
    rotation = np.einsum("cij,njk->ncik", extrinsics[:, :, :3], pose[:, :, :3])
    translation = np.einsum("cij,nj->nci", extrinsics[:, :, :3], pose[:, :, 3]) + extrinsics[:, :, 3]
    return np.concatenate([rotation, translation[..., None]], axis=-1)


def invert(pose: np.ndarray) -> np.ndarray:
    """Invert rigid transforms (…, 3, 4)."""
    rotation = np.swapaxes(pose[..., :3], -1, -2)
    return np.concatenate([rotation, -(rotation @ pose[..., 3:])], axis=-1)


def positions(extrinsics: np.ndarray) -> np.ndarray:
    """Give the cameras' centres (…, 3) in the frame that their extrinsics (…, 3, 4) map from."""
    return -np.einsum("...ji,...j->...i", extrinsics[..., :3], extrinsics[..., 3])


def enlarge(intrinsics: np.ndarray, factor: int) -> np.ndarray:
    """Give the intrinsics (…, 3, 3) of a picture `factor` times as large, which `box_filter` reduces to the original.

    The centre of pixel x lies in the middle of the pixels from factor·x to factor·x + factor − 1.
    """
    scaled = intrinsics.copy()
    scaled[..., :2, :] *= factor
    scaled[..., :2, 2] += (factor - 1) / 2
    return scaled


def shrink_intrinsics(intrinsics: np.ndarray, source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """Give the intrinsics (…, 3, 3) of pictures that `lipflow_kit.resampling.shrink` brought from one size to another.

    Args:
        intrinsics: (…, 3, 3) at the size `source`.
        source: Height and width before.
        target: Height and width after.
    """
    (height, width), (h, w) = source, target
    scaling = np.array(
        [[w / width, 0, (w / width - 1) / 2], [0, h / height, (h / height - 1) / 2], [0, 0, 1]], np.float64
    )
    return scaling @ intrinsics


def project(points: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project points into pictures.

    Args:
        points: (…, K, 3) in the frame that the extrinsics map from.
        intrinsics: (…, 3, 3) pixels.
        extrinsics: (…, 3, 4).

    Returns:
        Pixel coordinates (…, K, 2), x then y, and depth (…, K).
    """
    in_camera = points @ np.swapaxes(extrinsics[..., :3], -1, -2) + extrinsics[..., None, :, 3]
    homogeneous = in_camera @ np.swapaxes(intrinsics, -1, -2)
    depth = homogeneous[..., 2]
    return homogeneous[..., :2] / np.where(np.abs(depth) < 1e-6, 1e-6, depth)[..., None], depth


def nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """Give the rotations nearest to matrices (…, 3, 3) that are almost rotations."""
    left, _, right = np.linalg.svd(matrix)
    return left @ right


def rigid(angles: np.ndarray, shift: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    """Give transforms [R|t] (N, 3, 4) that turn points about a pivot and shift them.

    Args:
        angles: (N, 3) about x, y and z, applied in this order, radians.
        shift: (N, 3) millimetres.
        pivot: (3,) millimetres.
    """
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles).T, np.sin(angles).T
    rotation = np.stack(
        [
            np.stack([cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz], -1),
            np.stack([cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz], -1),
            np.stack([-sy, sx * cy, cx * cy], -1),
        ],
        -2,
    )
    translation = pivot + shift - np.einsum("nij,j->ni", rotation, pivot)
    return np.concatenate([rotation, translation[..., None]], axis=-1)
