"""Regions of a face mesh, such as eyes and mouth, as weights of its vertices. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lipflow_kit.headset import Anchors

EYE_RADII = (24.0, 17.0, 30.0)
"""Half axes of the ellipsoid around each eye: to the side, up and out of the face, millimetres."""

MOUTH_RADII = (36.0, 22.0, 45.0)
"""Half axes of the ellipsoid around the mouth, millimetres."""

MARGIN = 0.25
"""Part of a region's extent over which its weight falls from 1 to 0."""


def face_regions(vertices: np.ndarray, anchors: Anchors) -> dict[str, np.ndarray]:
    """Define the eyes and the mouth of a face at rest, with their lids and lips.

    Args:
        vertices: (V, 3) millimetres in a head frame with x to the subject's left, y up, z out of the face.
        anchors: Places of eyes and mouth on the same face.

    Returns:
        Region → (V,) float32 weight of each vertex in [0, 1].
    """
    eyes = [around(vertices, eye, EYE_RADII) for eye in (anchors.right_eye, anchors.left_eye)]
    return {"eyes": np.maximum(*eyes), "mouth": around(vertices, anchors.mouth, MOUTH_RADII)}


def around(vertices: np.ndarray, center: np.ndarray, radii: tuple[float, float, float]) -> np.ndarray:
    """Give the weight of each vertex in an ellipsoid: 1 inside, falling to 0 over `MARGIN` of its size."""
    distance = np.linalg.norm((vertices - center) / np.array(radii), axis=1)
    return np.clip((1 + MARGIN - distance) / MARGIN, 0, 1).astype(np.float32)


def joined(regions: Mapping[str, np.ndarray], wholly: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add vertices that belong to regions wholly, such as those of an eyeball; wholly: region → their indices."""
    found = {name: weights.copy() for name, weights in regions.items()}
    for name, vertices in wholly.items():
        found[name][vertices] = 1
    return found
