"""Keypoints of a mesh that has none of its own. Imports no torch."""

from __future__ import annotations

import numpy as np

from lipflow_kit.headset import estimate_anchors

KEYPOINTS = 274
"""As many as Meta's own trackers give."""


def choose_landmarks(vertices: np.ndarray, count: int = KEYPOINTS) -> np.ndarray:
    """Vertices spread over the front of a face, denser at eyes and mouth.

    Farthest-point sampling on the mean mesh: starting from the tip of the nose, take again and again the vertex whose
    distance to the nearest one taken, divided by the spacing wanted at its place, is largest. Eligible is what lies
    less than 70 mm behind the tip of the nose, and from 75 mm below to 85 mm above it. Spacing is 4 within 30 mm of
    eyes and mouth and 14 elsewhere, in common units. The same mesh gives the same vertices; ties go to the lowest.

    Args:
        vertices: (V, 3) millimetres in a head frame with x to the subject's left, y up, z out of the face.
        count: How many; fewer if the front of the face has not so many.

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
    taken = [tip]
    distance = np.linalg.norm(candidates - points[tip], axis=1)
    for _ in range(min(count, len(eligible)) - 1):
        best = int((distance / spacing).argmax())
        taken.append(int(eligible[best]))
        distance = np.minimum(distance, np.linalg.norm(candidates - candidates[best], axis=1))
    return np.array(taken, np.int64)
