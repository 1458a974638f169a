"""Keypoints: choosing vertices of a mesh that comes without any, and telling which are visible. Imports no torch."""

from __future__ import annotations

import numpy as np

from lipflow_kit.headset import estimate_anchors

KEYPOINTS = 274
"""Number of keypoints, as Meta's own trackers give them."""

HIDDEN_BEHIND = 4.0
"""A keypoint is hidden if it lies this much farther than the surface that a camera sees there, millimetres."""


def choose_landmarks(vertices: np.ndarray, count: int = KEYPOINTS) -> np.ndarray:
    """Choose vertices spread over the front of a face, denser at eyes and mouth.

    Vertices are taken by `spread_points`, beginning with the tip of the nose. Eligible are those less than 70 mm behind
    the tip and from 75 mm below to 85 mm above it. The spacing is 4 within 30 mm of eyes and mouth and 14 elsewhere.
    The same mesh gives the same vertices.

    Args:
        vertices: (V, 3) millimetres in a head frame with x to the subject's left, y up, z out of the face.
        count: Number of keypoints; fewer are chosen if the front of the face has fewer vertices.

    Returns:
        (K,) int64, in the order taken.
    """
    points = vertices.astype(np.float64)
    tip = int(points[:, 2].argmax())
    offset = points - points[tip]
    eligible = np.flatnonzero((offset[:, 2] > -70) & (offset[:, 1] > -75) & (offset[:, 1] < 85))
    candidates = points[eligible]
    anchors = estimate_anchors(points)
    spacing = np.full(len(eligible), 14.0)
    for center in (anchors.right_eye, anchors.left_eye, anchors.mouth):
        spacing[np.linalg.norm(candidates - center, axis=1) < 30] = 4.0
    further = spread_points(candidates, spacing, points[[tip]], min(count, len(eligible)) - 1)
    return np.concatenate([[tip], eligible[further]]).astype(np.int64)


def spread_points(candidates: np.ndarray, spacing: np.ndarray, taken: np.ndarray, count: int) -> np.ndarray:
    """Take points by farthest-point sampling with a local spacing.

    Again and again the candidate is taken whose distance to the nearest point taken, divided by the spacing wanted at
    its place, is largest; of equals the first.

    Args:
        candidates: (N, 3).
        spacing: (N,) in units common to all.
        taken: (M, 3) points taken before.
        count: Number of candidates to take.

    Returns:
        (count,) int64 positions among the candidates, in the order taken.
    """
    distance = np.min([np.linalg.norm(candidates - point, axis=1) for point in taken], axis=0)
    chosen = np.empty(max(count, 0), np.int64)
    for place in range(len(chosen)):
        best = int((distance / spacing).argmax())
        chosen[place] = best
        distance = np.minimum(distance, np.linalg.norm(candidates - candidates[best], axis=1))
    return chosen


def visible_points(points: np.ndarray, away: np.ndarray, depth: np.ndarray, supersampling: int) -> np.ndarray:
    """Tell which points of a face its own surface does not hide in a picture.

    Args:
        points: (B, K, 2) pixels, x then y.
        away: (B, K) depth of the points, millimetres.
        depth: (B, s·H, s·W) depth of the mesh in the supersampled picture, 0 beside it.
        supersampling: s.

    Returns:
        (B, K) bool; False outside the picture.
    """
    fine = np.rint(points * supersampling + (supersampling - 1) / 2).astype(np.int64)
    height, width = depth.shape[1:]
    inside = (fine >= 0).all(-1) & (fine[..., 0] < width) & (fine[..., 1] < height) & (away > 0)
    x, y = np.clip(fine[..., 0], 0, width - 1), np.clip(fine[..., 1], 0, height - 1)
    seen = depth[np.arange(len(points))[:, None], y, x]
    # A point on the silhouette may round to a pixel beside the head, where nothing hides it.
    return inside & ((seen == 0) | (away < seen + HIDDEN_BEHIND))
