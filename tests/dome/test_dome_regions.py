"""The regions of the dome's heads: eyes and mouth are where a picture shows them, whatever the face does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lipflow_dome.capture import DomeCapture
from lipflow_dome.config import DomeConfig
from lipflow_dome.head import Head, load_asset, subject_identities
from lipflow_dome.regions import INSIDES, region_weights

from lipflow_core.plans import CaptureInputs
from lipflow_core.records import Camera

EXPRESSIONS = (
    {},
    {"jawOpen": 1.0},
    {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "jawOpen": 0.3},
    {"eyeBlinkLeft": 1.0},
)


def test_anatomical_points_lie_in_their_regions():
    anchors, regions = load_asset().anchors, region_weights()
    for name, vertex in anchors.items():
        if name == "chin_front":  # at the border, below the lower lip
            continue
        for region, prefix in (("eyes", "eye_"), ("mouth", ("mouth_", "lip_"))):
            assert regions[region][vertex] == (1 if name.startswith(prefix) else 0), (name, region)


def test_the_regions_hold_the_insides_of_eyes_and_mouth_and_do_not_meet():
    asset, regions = load_asset(), region_weights()
    skin = asset.part_vertices("skin")
    for region, parts in INSIDES.items():
        assert (regions[region][np.setdiff1d(asset.part_vertices(*parts), skin)] == 1).all()
    assert not (regions["eyes"] * regions["mouth"]).any()
    for weights in regions.values():
        assert weights.dtype == np.float32 and 0.02 < (weights[skin] > 0).mean() < 0.35


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
@pytest.mark.parametrize("subject", ["p02_caucasian_female", "p05_african_male"])
def test_a_picture_shows_teeth_eyes_lips_and_lids_within_their_regions(subject, expression):
    head, asset = Head(subject_identities()[subject]), load_asset()
    weights = np.array([[expression.get(name, 0.0) for name in asset.expression_names]])
    vertices = torch.from_numpy(head.deform(weights, np.zeros((1, 2, 2))))
    config = DomeConfig(**{**DomeConfig.presets["tiny"], "image": (192, 192)})
    topology = DomeCapture(config, CaptureInputs()).film.topology
    intrinsics = torch.tensor([[[800.0, 0, 95.5], [0, 800, 95.5], [0, 0, 1]]])
    extrinsics = torch.tensor([[[1.0, 0, 0, 0], [0, -1, 0, -20], [0, 0, -1, 1000]]])
    renderer = config.renderer.build(config.renderer_inputs)
    drawn = renderer(vertices, torch.zeros(1, 3, 8, 8), topology, Camera(intrinsics, extrinsics, 192, 192))
    part = torch.from_numpy(asset.part)[drawn.triangle[0].clamp(min=0)].masked_fill(drawn.triangle[0] < 0, -1)
    corners = topology.triangles[drawn.triangle[0].clamp(min=0)]
    for region, parts in INSIDES.items():
        weight = (torch.from_numpy(region_weights()[region])[corners] * drawn.barycentric[0].movedim(0, -1)).sum(-1)
        inside = torch.isin(part, torch.tensor([asset.part_names.index(name) for name in parts]))
        if region == "mouth" and not expression.get("jawOpen"):
            continue
        assert inside.sum() > 10 and (weight[inside] > 0.9).float().mean() > 0.97, region
        # The skin around is in the region too, so that lids and lips are seen.
        rows, columns = inside.nonzero().unbind(1)
        ring = torch.zeros_like(inside)
        for down, right in ((3, 0), (-3, 0), (0, 3), (0, -3)):
            ring[(rows + down).clamp(0, 191), (columns + right).clamp(0, 191)] = True
        assert (weight[ring] > 0.9).float().mean() > 0.9, region
