"""Simulate, write, read: the same frames."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from einops import rearrange
from lipflow_multiface.writing import write_capture

from lipflow_core.errors import CaptureError, StorageError
from lipflow_core.records import Camera

QUANTUM = 0.5 / 255 + 1e-6


@pytest.fixture(params=["train", "held-out"])
def both(request, simulated, written, read, load):
    """Frames of one split, as simulated and as read."""
    names = ("face", "dome", "frontal", "headset", "keypoints", "truth")
    return tuple(load(capture.split(request.param), observations=names) for capture in (simulated, read(written)))


def test_segments_numbers_and_cameras_are_the_same(simulated, written, read):
    there = read(written)
    for name in ("train", "held-out"):
        one, other = simulated.split(name), there.split(name)
        assert list(one.segments) == list(other.segments)
        assert np.array_equal(one.numbers, other.numbers)
        assert list(one.cameras) == list(other.cameras)


def test_vertices_are_the_same_to_the_bit(both):
    before, after = both
    assert torch.equal(before["face"].vertices, after["face"].vertices)


@pytest.mark.parametrize(
    ("observation", "tensor"),
    [("face", "texture"), ("dome", "images"), ("frontal", "images"), ("headset", "images"), ("headset", "mask")],
)
def test_pictures_are_the_same_within_quantisation(both, observation, tensor):
    before, after = (getattr(frame[observation], tensor) for frame in both)
    torch.testing.assert_close(before, after, rtol=0, atol=QUANTUM)


@pytest.mark.parametrize("observation", ["dome", "frontal", "headset", "keypoints"])
def test_cameras_are_the_same_to_float32_precision(both, observation):
    before, after = (frame[observation].camera for frame in both)
    torch.testing.assert_close(before.intrinsics, after.intrinsics, rtol=1e-6, atol=0)
    torch.testing.assert_close(before.extrinsics[..., :3], after.extrinsics[..., :3], rtol=0, atol=1e-6)
    torch.testing.assert_close(before.extrinsics[..., 3], after.extrinsics[..., 3], rtol=1e-6, atol=3e-4)


def test_masks_are_drawn_again_alike(both):
    before, after = (frame["dome"].mask for frame in both)
    assert (before - after).abs().mean() < 1e-3


def test_keypoints_and_ground_truth_are_the_same_to_the_bit(both):
    before, after = both
    assert torch.equal(before["keypoints"].points, after["keypoints"].points)
    assert torch.equal(before["keypoints"].visible, after["keypoints"].visible)
    for name in ("expression", "gaze", "pose", "slip", "light", "background", "noise"):
        assert torch.equal(getattr(before["truth"], name), getattr(after["truth"], name)), name


def test_template_is_the_same(simulated, written, read):
    before, after = simulated.template(), read(written).template()
    for name in ("triangles", "uv", "uv_triangles"):
        assert torch.equal(getattr(before.topology, name), getattr(after.topology, name)), name
    assert torch.equal(before.vertices_mean, after.vertices_mean)
    assert torch.equal(before.landmarks, after.landmarks)
    assert list(before.regions) == list(after.regions) == ["eyes", "mouth"]
    for name, weights in before.regions.items():
        assert torch.equal(weights, after.regions[name]), name
    torch.testing.assert_close(before.texture_mean, after.texture_mean, rtol=0, atol=QUANTUM)
    torch.testing.assert_close(before.vertices_scale, after.vertices_scale, rtol=1e-6, atol=0)
    torch.testing.assert_close(before.texture_scale, after.texture_scale, rtol=1e-6, atol=0)


def test_plan_agrees_with_frames(written, read, load):
    capture = read(written)
    frame = load(capture.split("train"), observations=("face", "dome", "frontal", "headset", "keypoints", "truth"))
    for name, shape in capture.planned.outputs.items():
        owner, tensor = name.split(".", 1)
        if owner not in ("topology", "template"):
            assert tuple(getattr(frame[owner], tensor).shape) == (len(frame), *shape), name


def test_what_is_drawn_at_a_pixel_projects_to_that_pixel(written, read, load, renderer):
    capture = read(written)
    frame, topology = load(capture.split("held-out"), [0, 3]), capture.template().topology
    camera, count = frame["dome"].camera, 3
    vertices = frame["face"].vertices.repeat_interleave(count, 0)
    drawn = renderer(vertices, torch.zeros(1, 1, 2, 2), topology, camera.flatten())
    assert ((drawn.coverage > 0).float() - frame["dome"].mask.flatten(0, 1)).abs().mean() < 0.03
    corners = vertices[torch.arange(len(vertices))[:, None, None, None], topology.triangles[drawn.triangle]]
    hit = torch.einsum("bkhw,bhwkd->bhwd", drawn.barycentric, corners)
    places, _ = Camera(
        *(t.double() for t in (camera.flatten().intrinsics, camera.flatten().extrinsics)), 40, 32
    ).project(rearrange(hit.double(), "b h w d -> b (h w) d"))
    y, x = torch.meshgrid(torch.arange(40), torch.arange(32), indexing="ij")
    error = (rearrange(places, "b (h w) d -> b h w d", h=40) - torch.stack([x, y], -1)).abs().amax(-1)
    assert error[drawn.coverage > 0].max() < 0.1


def test_writing_again_writes_nothing_new(simulated, renderer, damaged):
    again = write_capture(simulated, damaged, renderer, style="none")
    assert (again.frames, again.new) == (8, 0)


def test_an_interrupted_writing_is_taken_up(simulated, renderer, written, damaged):
    (damaged / "frame_list.txt").unlink()
    gone = "EXP_ROM_0001"
    (damaged / "lipflow" / "frames" / f"{gone}.npz").unlink()
    (damaged / "images" / gone / "frontal" / "000001.png").unlink()
    again = write_capture(simulated, damaged, renderer, style="none")
    assert again.new == 2
    for path in sorted(path for path in written.rglob("*") if path.is_file()):
        assert (damaged / path.relative_to(written)).read_bytes() == path.read_bytes(), path.name


KILLED = """
import json, os, signal, sys
from lipflow_multiface.writing import write_capture
from lipflow_core.plans import CaptureInputs
from lipflow_dome.capture import DomeCapture
from lipflow_dome.config import DomeConfig
config = DomeConfig(**json.loads(sys.argv[1]))
capture = DomeCapture(config, CaptureInputs())
opened = []
def die(event, given):
    if event == "open" and "dome-01" in str(given[0]):
        opened.append(given[0])
        if len(opened) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(die)
write_capture(capture, sys.argv[2], config.renderer.build(config.renderer_inputs), workers=1)
"""


def test_a_killed_writing_is_taken_up_to_the_same_bytes(simulated, renderer, written, tmp_path):
    folder, options = tmp_path / "subject", simulated.config.model_dump_json(exclude={"renderer"})
    process = subprocess.run([sys.executable, "-c", KILLED, options, str(folder)])
    assert process.returncode == -signal.SIGKILL
    assert list(folder.glob("images/*/dome-01/*.png")) and not (folder / "frame_list.txt").exists()
    assert write_capture(simulated, folder, renderer, style="none").new > 0
    files = {path.relative_to(written) for path in written.rglob("*") if path.is_file()}
    assert files == {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert all((folder / file).read_bytes() == (written / file).read_bytes() for file in files)


def test_another_capture_in_the_way_is_left_alone(simulated, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="not an earlier part"):
        write_capture(simulated, tmp_path, style="none")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_without_a_renderer_only_average_textures_are_written(simulated, tmp_path, read):
    write_capture(simulated, tmp_path / "plain", style="none")
    segment = simulated.split("train").segments[0]
    assert [path.name for path in (tmp_path / "plain" / "unwrapped_uv_1024" / segment).iterdir()] == ["average"]
    assert len(read(tmp_path / "plain").split("train")) == 4


def test_a_capture_without_dome_pictures_is_refused(simulated, tmp_path):
    class Blind:
        planned = type("Planned", (), {"outputs": {"face.vertices": (3, 3)}})
        identity = "blind"
        split = simulated.split
        template = simulated.template

    with pytest.raises(CaptureError, match="no 'dome'"):
        write_capture(Blind(), tmp_path / "blind", style="none")
