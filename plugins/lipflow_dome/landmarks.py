"""Where the 274 keypoints lie on the mesh.

They are chosen once, on the mean identity's neutral face, and stored in data/landmarks.json. The rule is farthest-point
sampling with a local spacing: starting from the asset's 16 anatomical points, take again and again the face vertex
whose distance to the nearest chosen one, divided by the spacing wanted at its place, is largest. Spacing is 3 at lips
and lids, 6 at brows and nose, 14 elsewhere (in common units). Skin alone is eligible, in front of the ears and above
the neck; nostrils, which no camera sees into, are left out.
"""

from __future__ import annotations

import functools
import json

import numpy as np

from lipflow_dome.config import LANDMARKS
from lipflow_dome.head import data_file, load_asset


@functools.cache
def landmark_vertices() -> np.ndarray:
    """(K,) int64 vertex of each keypoint."""
    return np.array(json.loads(data_file("landmarks.json").read_text(encoding="utf-8"))["vertices"], np.int64)


def choose_landmarks() -> np.ndarray:
    """Apply the rule; what data/landmarks.json was made with."""
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

    chosen = sorted(asset.anchors.values())
    distance = np.min([np.linalg.norm(points[eligible] - points[vertex], axis=1) for vertex in chosen], axis=0)
    while len(chosen) < LANDMARKS:
        best = int((distance / spacing).argmax())
        chosen.append(int(eligible[best]))
        distance = np.minimum(distance, np.linalg.norm(points[eligible] - points[chosen[-1]], axis=1))
    return np.array(chosen)


def _middle(anchor: dict[str, np.ndarray], one: str, other: str) -> np.ndarray:
    return (anchor[one] + anchor[other]) / 2
