"""The vertices of the 274 keypoints.

They were chosen once, on the mean identity's neutral face, and are stored in data/landmarks.json. The rule is
`lipflow_kit.landmarks.spread_points`, beginning with the asset's 16 anatomical points. The spacing is 3 at lips and
lids, 6 at brows and nose, and 14 elsewhere. Only skin in front of the ears and above the neck is eligible, without the
nostrils, which no camera sees into.
"""

from __future__ import annotations

import functools
import json

import numpy as np
from lipflow_kit.landmarks import spread_points

from lipflow_dome.config import LANDMARKS
from lipflow_dome.head import data_file, load_asset


@functools.cache
def landmark_vertices() -> np.ndarray:
    """Give the vertex of each keypoint, (K,) int64."""
    return np.array(json.loads(data_file("landmarks.json").read_text(encoding="utf-8"))["vertices"], np.int64)


def choose_landmarks() -> np.ndarray:
    """Choose the keypoints anew, as they were for data/landmarks.json; (K,) int64."""
    asset = load_asset()
    points = asset.vertices
    skin = np.setdiff1d(asset.part_vertices("skin"), asset.part_vertices("mouth", "eye_socket"))
    eligible = skin[(points[skin, 2] > -12) & (points[skin, 1] > -104) & (points[skin, 1] < 62)]
    anchor = {name: points[vertex] for name, vertex in asset.anchors.items()}
    nostril = np.abs(points[eligible] - anchor["nose_tip"]) < [14, 14, 40]
    below_tip = (points[eligible, 1] < anchor["nose_tip"][1] - 1) & (points[eligible, 2] < anchor["nose_tip"][2] - 8)
    eligible = eligible[~(nostril.all(1) & below_tip)]

    spacing = np.full(len(eligible), 14.0)
    for center, radius, wanted in (
        ((anchor["nasion"] + anchor["nose_tip"]) / 2, (20, 32, 60), 6.0),
        *(((side * 30, 22, 50), (26, 14, 60), 6.0) for side in (-1, 1)),
        *((_middle(anchor, f"eye_{side}_inner", f"eye_{side}_outer"), (20, 12, 40), 3.0) for side in ("left", "right")),
        (_middle(anchor, "mouth_left", "mouth_right"), (32, 17, 60), 3.0),
    ):
        near = (((points[eligible] - np.array(center)) / np.array(radius)) ** 2).sum(1) < 1
        spacing[near] = np.minimum(spacing[near], wanted)

    first = sorted(asset.anchors.values())
    further = spread_points(points[eligible], spacing, points[first], LANDMARKS - len(first))
    return np.concatenate([first, eligible[further]])


def _middle(anchor: dict[str, np.ndarray], one: str, other: str) -> np.ndarray:
    return (anchor[one] + anchor[other]) / 2
