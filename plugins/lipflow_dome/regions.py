"""The regions of the dome's heads: eyes with lids and sockets, mouth with lips, teeth and tongue."""

from __future__ import annotations

import functools

import numpy as np
from lipflow_kit.headset import Anchors
from lipflow_kit.regions import face_regions, joined

from lipflow_dome.head import load_asset

INSIDES = {"eyes": ("eye_l", "eye_r", "eye_socket"), "mouth": ("mouth", "teeth", "tongue")}
"""Region → parts of the head asset that belong to it wholly."""


@functools.cache
def region_weights() -> dict[str, np.ndarray]:
    """Give the weight of each vertex in each region, (V,) float32; the same for all subjects.

    The regions are chosen on the mean identity's neutral face around its anatomical points.
    """
    asset = load_asset()
    point = {name: asset.vertices[vertex] for name, vertex in asset.anchors.items()}
    anchors = Anchors(
        right_eye=(point["eye_right_inner"] + point["eye_right_outer"]) / 2,
        left_eye=(point["eye_left_inner"] + point["eye_left_outer"]) / 2,
        mouth=(point["mouth_left"] + point["mouth_right"]) / 2,
    )
    skin = asset.part_vertices("skin")
    wholly = {name: np.setdiff1d(asset.part_vertices(*parts), skin) for name, parts in INSIDES.items()}
    return joined(face_regions(asset.vertices, anchors), wholly)
