"""Colour as a function of expression, and the atlas that it is painted in."""

from __future__ import annotations

import numpy as np
import pytest
from lipflow_dome.atlas import lay_atlas, load_albedo, map_texels
from lipflow_dome.config import SUBJECTS
from lipflow_dome.head import Head, load_asset, subject_identities
from lipflow_dome.occlusion import load_occlusion
from lipflow_dome.surface import Surface


@pytest.fixture(scope="module")
def head():
    return Head(subject_identities()["p01_caucasian_male"])


@pytest.fixture(scope="module")
def surface(head):
    return Surface(head, map_texels(256))


def expression(**weights):
    names = load_asset().expression_names
    return np.array([[weights.get(name, 0.0) for name in names]], np.float32)


def condition(head, surface, **weights):
    vertices = head.deform(expression(**weights).astype(float), np.zeros((1, 2, 2)))
    points, _, areas = surface.locate(vertices)
    return points[0], surface.condition(points, areas, vertices, expression(**weights))


def near(points, place, radius):
    return np.linalg.norm(points - place, axis=-1) < radius


def test_a_frown_wrinkles_the_brow(head, surface):
    rest, smooth = condition(head, surface)
    _, frowning = condition(head, surface, browDownLeft=1.0, browDownRight=1.0)
    place = head.neutral[head.asset.anchors["nasion"]] + [0, 12, 0]
    brow = near(rest, place, 12)
    assert np.abs(smooth.tilt).max() < 1e-3
    assert np.linalg.norm(frowning.tilt[0, brow], axis=-1).max() > 0.1
    assert frowning.tint[0, brow].mean() < smooth.tint[0, brow].mean() - 0.01


def test_effort_reddens_the_cheeks(head, surface):
    rest, _ = condition(head, surface)
    _, puffed = condition(head, surface, mouthPressLeft=1.0, mouthPressRight=1.0, cheekPuff=0.8)
    cheek = near(rest, head.neutral[head.asset.anchors["nose_tip"]] * [0, 1, 0] + [42, 0, 35], 18)
    red, green = puffed.tint[0, cheek, 0].mean(), puffed.tint[0, cheek, 1].mean()
    assert cheek.sum() > 20 and red > 1.03 * green


def test_an_open_jaw_lets_light_into_the_mouth(head, surface):
    _, shut = condition(head, surface)
    _, agape = condition(head, surface, jawOpen=0.8)
    lit, unlit = agape.open[0, surface.inside], shut.open[0, surface.inside]
    assert (lit > unlit + 0.1).mean() > 0.05 and lit.mean() > unlit.mean()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_parted_lips_let_light_on_the_teeth(subject, surface):
    head = Head(subject_identities()[subject])
    _, shut = condition(head, surface)
    raised = {f"mouth{name}{side}": 0.8 for name in ("UpperUp", "LowerDown", "Smile") for side in ("Left", "Right")}
    _, grinning = condition(head, surface, **raised)
    front = np.argsort(-surface.locate(head.neutral[None].astype(np.float32))[0][0, surface.teeth, 2])[:200]
    brightest = np.sort(grinning.open[0, surface.teeth[front]])[-40:].mean()
    assert brightest > 0.4 > 0.3 > np.median(shut.open[0, surface.teeth])


def test_a_lid_shadows_the_eye_that_it_covers(head, surface):
    _, open_ = condition(head, surface)
    _, shut = condition(head, surface, eyeBlinkLeft=0.5, **{"mh_eye-left-closure": 0.45})
    left, right = surface.eyes["eye_l"], surface.eyes["eye_r"]
    assert shut.open[0, left].mean() < open_.open[0, left].mean()
    assert np.allclose(shut.open[0, right], open_.open[0, right], atol=0.02)


def test_sockets_nostrils_and_mouth_are_darker_than_the_forehead():
    base, changes = load_occlusion()
    asset = load_asset()
    forehead = asset.part_vertices("skin")[asset.vertices[asset.part_vertices("skin"), 1] > 50]
    assert base[forehead].mean() > 0.9
    assert base[asset.part_vertices("mouth")].mean() < 0.3
    assert changes.shape == (86, 6109)


def test_islands_do_not_overlap():
    texels, asset = map_texels(256), load_asset()
    atlas = lay_atlas()
    part = asset.part[texels.triangle]
    for name in ("eye_l", "eye_r", "teeth", "mouth", "tongue"):
        index = asset.part_names.index(name)
        corners = atlas.uv[atlas.uv_triangles[asset.part == index]].reshape(-1, 2)
        column, row = texels.covered % 256 + 0.5, texels.covered // 256 + 0.5
        u, v = column / 256, 1 - row / 256
        inside = (u > corners[:, 0].min()) & (u < corners[:, 0].max())
        inside &= (v > corners[:, 1].min()) & (v < corners[:, 1].max())
        assert (part[inside] == index).all(), name


def test_the_atlas_keeps_inside_the_texture():
    assert lay_atlas().uv.min() >= 0 and lay_atlas().uv.max() <= 1


@pytest.mark.parametrize("subject", SUBJECTS)
def test_albedo_survives_minification(subject):
    """A 64² albedo has the colours of the 256² one: nothing bleeds in from between the islands."""
    asset = load_asset()
    means = []
    for size in (64, 256):
        skin = asset.part[map_texels(size).triangle] == 0
        means.append(load_albedo(subject, size)[skin].mean(0))
    assert np.abs(means[0] - means[1]).max() < 0.01
