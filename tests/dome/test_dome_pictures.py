"""What the cameras see agrees with the geometry they look at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lipflow_dome.cameras import headset_rig
from lipflow_dome.filming import Performance
from lipflow_dome.landmarks import choose_landmarks, landmark_vertices
from lipflow_kit.cameras import compose, positions

from lipflow_core.interfaces import FrameRequest


@pytest.fixture(scope="module")
def frames(capture):
    indices = np.arange(0, 24, 2)
    cameras = np.tile(np.arange(3), (len(indices), 1))
    names = ("face", "dome", "frontal", "headset", "keypoints", "truth")
    return capture.split("train").load(FrameRequest(indices, names, cameras))


def test_keypoints_are_projected_landmarks(capture, frames):
    points, depth = frames["keypoints"].camera.project(frames["face"].vertices[:, capture.template().landmarks])
    assert torch.allclose(points, frames["keypoints"].points, atol=1e-3)
    assert (depth > 0).all()
    assert 0.8 < frames["keypoints"].visible.mean() < 1


def test_landmarks_follow_their_rule():
    assert np.array_equal(choose_landmarks(), landmark_vertices())
    assert len(np.unique(landmark_vertices())) == 274


def test_masks_cover_the_projected_head(frames):
    for name in ("frontal", "headset"):
        views = frames[name]
        height, width = views.mask.shape[-2:]
        vertices = frames["face"].vertices[:, None].expand(-1, views.mask.shape[1], -1, -1)
        points, _ = views.camera.project(vertices)
        pixel = points.round().long()
        inside = (pixel >= 0).all(-1) & (pixel[..., 0] < width) & (pixel[..., 1] < height)
        x, y = pixel[..., 0].clamp(0, width - 1), pixel[..., 1].clamp(0, height - 1)
        covered = views.mask.flatten(2).gather(2, y * width + x) > 0
        assert covered[inside].float().mean() > 0.995


def test_outside_the_mask_dome_pictures_are_black(frames):
    views = frames["dome"]
    assert (views.images * (views.mask == 0)[:, :, None]).max() == 0


def test_headset_cameras_see_eyes_and_mouth_inside_their_pictures(frames, capture):
    anchors = capture.film.head.asset.anchors
    height, width = capture.config.headset.size
    for view, name in enumerate(("eye_right_top", "eye_left_top", "lip_inner_upper")):
        points, _ = frames["headset"].camera.project(
            frames["face"].vertices[:, None, [anchors[name]]].expand(-1, 3, -1, -1)
        )
        seen = points[:, view, 0]
        assert ((seen > 0.15 * torch.tensor([width, height])) & (seen < 0.85 * torch.tensor([width, height]))).all()


def test_headset_views_differ_and_slip(frames):
    images = frames["headset"].images
    assert (images[:, 0] - images[:, 1]).abs().mean() > 0.05
    assert (images[:, 0] - images[:, 2]).abs().mean() > 0.05
    assert frames["headset"].camera.extrinsics.std(0).max() > 0.1


def test_no_part_of_the_head_lies_behind_a_headset_camera(capture):
    rig = headset_rig(capture.config, capture.film.head)
    away = np.einsum("cj,vj->cv", rig.extrinsics[:, 2, :3], capture.film.head.neutral) + rig.extrinsics[:, 2, 3, None]
    assert away.min() > 5


def test_headset_conditions_can_be_switched_off(make_capture):
    off = dict.fromkeys(("noise", "gain", "offset", "gradient", "slip"), 0)
    plain = make_capture(headset={"size": (24, 32), **off})
    truth = plain.split("held-out").load(FrameRequest(np.arange(3), ("truth", "headset")))["truth"]
    assert torch.equal(truth.slip, torch.eye(3, 4).expand(3, 3, 4))
    assert torch.equal(truth.light, torch.tensor([1.0, 0, 0, 0]).expand(3, 3, 4))


def test_recorded_conditions_are_those_of_the_pictures(capture, frames):
    """Behind the face a headset picture is its recorded background, and noise of the recorded strength."""
    height, width = capture.config.headset.size
    x, y = torch.linspace(-0.5, 0.5, width), torch.linspace(-0.5, 0.5, height)[:, None]
    level, across, down = frames["truth"].background.unbind(-1)
    behind = level[..., None, None] + across[..., None, None] * x + down[..., None, None] * y
    behind = behind.clamp(0, capture.config.headset.background)
    # where noise is not cut off at black
    bare = (frames["headset"].mask == 0) & (behind > 3 * capture.config.headset.noise)
    off = (frames["headset"].images[:, :, 0] - behind)[bare]
    assert len(off) > 1000 and abs(off.mean()) < 0.002
    assert off.std() == pytest.approx(frames["truth"].noise.mean().item(), rel=0.05)


def test_texture_depends_on_the_view_and_on_the_expression(capture):
    film = capture.film
    performed = Performance(film.config, "train").of(np.array([0, 4]))
    vertices = film.head.deform(performed["expression"].astype(float), performed["gaze"].astype(float))
    pose = np.repeat(np.eye(3, 4)[None], 2, 0)
    viewpoints = positions(compose(film.dome.extrinsics, pose))
    colors, _ = film.shader.shade(vertices, performed["expression"], pose, viewpoints)
    skin = film.shader.surface.skin
    assert np.abs(colors[:, 0, skin] - colors[:, 1, skin]).mean() > 0.004
    assert np.abs(colors[0, :, skin] - colors[1, :, skin]).mean() > 0.002


def test_average_texture_lies_among_the_views(capture):
    film = capture.film
    performed = Performance(film.config, "train").of(np.array([4]))
    _, texture = film.face(performed, np.arange(3))
    each = np.stack([film.face(performed, np.array([camera]))[1] for camera in range(3)])
    assert (texture >= each.min(0) - 1e-5).all() and (texture <= each.max(0) + 1e-5).all()
