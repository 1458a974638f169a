"""The capture `tube` fulfils its contract, and its pictures, markers and mesh agree with each other."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool2d

from lipflow_core.interfaces import Capture, FrameRequest
from lipflow_core.records import Frame
from lipflow_core.testing import Subject, checks

EVERYTHING = ("surface", "ring", "side", "probe", "markers")


def make(**options) -> Capture:
    """A tube with these options."""
    return Subject.of("capture", "tube", options).build()


@cache
def tube() -> Capture:
    """The tube of most tests, simulated once."""
    return make()


def held_out(capture: Capture, count: int = 6) -> Frame:
    """The first held-out frames, with all observations and all cameras of the ring."""
    split = capture.split("held-out")
    cameras = np.tile(np.arange(len(split.cameras)), (count, 1))
    return split.load(FrameRequest(np.arange(count), EVERYTHING, cameras))


@pytest.mark.parametrize("check", checks("capture"), ids=str)
def test_conformance(check):
    check(Subject.of("capture", "tube"))


def test_another_seed_gives_other_frames_and_another_identity():
    one, other = tube(), make(seed=1)
    assert one.identity != other.identity
    assert not torch.equal(held_out(one)["surface"].vertices, held_out(other)["surface"].vertices)


def test_more_frames_leave_the_others_as_they_were():
    few, many = held_out(tube()), held_out(make(held_out_sequences=5))
    for name in EVERYTHING:
        for (label, one), (_, other) in zip(few[name].tensors(), many[name].tensors(), strict=True):
            torch.testing.assert_close(one, other, msg=f"{name}.{label} depends on the number of sequences")


def test_options_set_the_sizes():
    config = {"texture": 16, "image": (24, 40), "cameras": 5, "probe": (12, 16)}
    frame = held_out(make(**config, sequences=1, held_out_sequences=1), count=4)
    assert frame["ring"].images.shape == (4, 5, 3, 24, 40)
    assert frame["side"].mask.shape == (4, 1, 24, 40)
    assert frame["probe"].images.shape == (4, 2, 1, 12, 16)
    assert frame["surface"].texture.shape == (4, 3, 16, 16)


def test_triangles_are_counter_clockwise_seen_from_outside():
    template, frame = tube().template(), held_out(tube())
    corners = frame["surface"].vertices[:, template.topology.triangles]
    normals = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    ring = frame["surface"].vertices.unflatten(1, (16, 16)).mean(dim=2)  # the tube's axis
    nearest = torch.cdist(corners.mean(dim=2), ring).argmin(dim=2)
    outward = corners.mean(dim=2) - ring.gather(1, nearest[..., None].expand(-1, -1, 3))
    assert ((normals * outward).sum(dim=-1) > 0).all()


def test_the_upper_end_moves_and_the_lower_one_stands():
    vertices = held_out(tube(), 12)["surface"].vertices.unflatten(1, (16, 16)).mean(dim=2)
    assert vertices[:, 0].std(dim=0).max() < 1e-3 < 10 < vertices[:, -1].std(dim=0).max()


def test_visible_markers_are_landmarks_seen_by_the_side_camera():
    template, frame = tube().template(), held_out(tube())
    markers = frame["markers"]
    points, depth = markers.camera.project(frame["surface"].vertices[:, template.landmarks])
    torch.testing.assert_close(points, markers.points)
    assert (depth > 0).all() and 0.3 < markers.visible.mean() < 0.7
    shown = max_pool2d(frame["side"].mask, kernel_size=3, stride=1, padding=1)[:, 0]  # or in a pixel beside it
    row, x, y = torch.arange(len(frame))[:, None], *markers.points.round().long().clamp(0, 31).unbind(-1)
    assert (shown[row, y, x][markers.visible == 1] > 0).all(), "a visible marker lies beside the tube"


def test_pictures_show_the_surface_in_colours_that_depend_on_the_view():
    """Drawn with the texture that all cameras average, the surface looks nearly like the pictures, but not quite."""
    capture, frame = tube(), held_out(tube())
    ring, surface = frame["ring"], frame["surface"]
    renderer = capture.config.renderer.build(capture.config.renderer_inputs)
    errors = []
    for view in range(ring.images.shape[1]):
        camera = ring.camera.apply(lambda tensor, view=view: tensor[:, view])
        drawn = renderer(surface.vertices, surface.texture, capture.template().topology, camera)
        error = (drawn.image - ring.images[:, view]).abs().mean(dim=1)
        errors.append(error[ring.mask[:, view] == 1])
    assert 0.01 < torch.cat(errors).mean() < 0.05
