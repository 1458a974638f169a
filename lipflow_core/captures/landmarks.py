"""Keypoints of a mesh that has none of its own. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lipflow_core.captures.headset import estimate_anchors
from lipflow_core.captures.layout import read_text
from lipflow_core.errors import CaptureError

KEYPOINTS = 274
"""As many as Meta's own trackers give."""


def read_landmarks(path: Path, vertices: int) -> np.ndarray:
    """(K,) int64 vertex of each keypoint, from a JSON file `{"vertices": [...]}` or a text file of numbers.

    Args:
        path: Of the file.
        vertices: Number of the mesh's vertices.

    Raises:
        CaptureError: If it can't be read or names a vertex that the mesh has not.
    """
    text = read_text(path)
    try:
        chosen = np.array(json.loads(text)["vertices"] if path.suffix == ".json" else [int(w) for w in text.split()])
        if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind != "i":
            raise ValueError("expected a list of whole numbers")
    except (ValueError, KeyError, TypeError) as error:
        raise CaptureError(f"{path} holds no landmarks: {error}", 'Write {"vertices": [12, 345, …]}.') from error
    if chosen.min() < 0 or chosen.max() >= vertices:
        wrong = chosen[(chosen < 0) | (chosen >= vertices)][0]
        raise CaptureError(f"{path} names vertex {wrong}; the mesh has vertices 0 to {vertices - 1}")
    return chosen.astype(np.int64)


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
