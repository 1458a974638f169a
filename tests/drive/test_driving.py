"""Headset pictures that a user has become codes, meshes and pictures of faces, without fitting."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from lipflow_drive.driving import drive
from lipflow_drive.pictures import open_pictures
from safetensors.torch import load_file

import lipflow_core
from lipflow_core.cli import main
from lipflow_core.errors import CaptureError, StorageError, UsageError
from lipflow_core.png import encode_png
from lipflow_core.records import Frame, Views

SHAPE = (3, 1, 24, 32)
VIEWS = ("right-eye", "left-eye", "mouth")


def predicted(model, views):
    """Codes and vertices that the model predicts of pictures in memory."""
    avatar, _ = lipflow_core.open_model(model)
    levels = (views.images * 255).round() / 255
    frame = Frame(("a",) * 3, torch.arange(3), {"headset": Views(levels, views.camera, views.mask)})
    with torch.no_grad():
        code = avatar.fitting_prior.condition(avatar.drive(frame)).mode()
        return code, avatar.geometry(code)


def test_codes_and_meshes_are_those_of_the_driving_encoder(model, pictures, real_frames, tmp_path):
    done = drive(model, pictures(), tmp_path / "out")
    stored = load_file(tmp_path / "out" / "codes.safetensors")
    code, vertices = predicted(model, real_frames)
    torch.testing.assert_close(stored["codes"], code, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stored["vertices"], vertices, rtol=0, atol=1e-3)
    assert done.frames == ("shot-0", "shot-1", "shot-2") and done.size == (24, 32)
    assert not torch.allclose(stored["codes"][0], stored["codes"][1])


def test_larger_pictures_are_averaged_down(model, pictures, tmp_path):
    drive(model, pictures(), tmp_path / "small", meshes=False, pictures=False)
    done = drive(model, pictures(scale=3), tmp_path / "large", meshes=False, pictures=False)
    small, large = (load_file(tmp_path / name / "codes.safetensors")["codes"] for name in ("small", "large"))
    torch.testing.assert_close(small, large, rtol=1e-4, atol=1e-5)
    assert done.found == ((72, 96),) * 3
    assert {path.name for path in (tmp_path / "large").iterdir()} == {"codes.safetensors", "drive.json"}


def test_cameras_follow_the_pictures_to_the_models_size(pictures, real_frames):
    intrinsics, extrinsics = open_pictures(pictures(scale=3, cameras=True), VIEWS, SHAPE).calibration()
    np.testing.assert_allclose(intrinsics, real_frames.camera.intrinsics[0], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(extrinsics, real_frames.camera.extrinsics[0], rtol=1e-5, atol=1e-5)


def test_a_mesh_file_has_the_predicted_vertices_and_the_topology(model, pictures, tmp_path):
    drive(model, pictures(), tmp_path / "out", pictures=False)
    lines = (tmp_path / "out" / "meshes" / "shot-1.obj").read_text().splitlines()
    points = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    wanted = load_file(tmp_path / "out" / "codes.safetensors")["vertices"][1].numpy()
    np.testing.assert_allclose(points, wanted, atol=1e-3)
    assert sum(line.startswith("f ") for line in lines) == 11958


def test_faces_are_drawn_from_the_front_and_beside_the_views(model, pictures, tmp_path):
    plain = drive(model, pictures(), tmp_path / "plain", meshes=False, size=64)
    drive(model, pictures(cameras=True), tmp_path / "calibrated", meshes=False, size=64)
    names = {path.name for path in (tmp_path / "plain" / "pictures").iterdir()}
    assert names == {f"shot-{i}.png" for i in range(3)} and "without cameras.json" in plain.notes[0]
    names = {path.name for path in (tmp_path / "calibrated" / "pictures").iterdir()}
    assert names == {f"shot-{i}{ending}" for i in range(3) for ending in (".png", ".views.png")}


def test_pictures_are_straightened_by_a_lens(pictures):
    folder = pictures(cameras=True)
    plain = open_pictures(folder, VIEWS, SHAPE).images(["shot-0"])
    content = json.loads((folder / "cameras.json").read_text())
    content["mouth"]["distortion"] = [0.2, 0, 0, 0, 0]
    (folder / "cameras.json").write_text(json.dumps(content))
    bent = open_pictures(folder, VIEWS, SHAPE).images(["shot-0"])
    assert np.array_equal(plain[0, :2], bent[0, :2]) and not np.array_equal(plain[0, 2], bent[0, 2])


def test_the_command_says_what_it_did(model, pictures, tmp_path, capsys):
    folder, out = str(pictures()), str(tmp_path / "out")
    assert main(["drive", str(model), folder, "--out", out, "--quiet", "--size", "32"]) == 0
    assert "predicted 3 frames with lip-flow-hmc" in capsys.readouterr().out
    assert main(["drive", str(model), folder, "--out", out, "--no-meshes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == ["shot-0", "shot-1", "shot-2"]


def test_views_may_have_other_names(model, pictures, tmp_path):
    folder = pictures()
    for number, view in enumerate(VIEWS):
        (folder / view).rename(folder / f"cam{number}")
    done = drive(model, folder, tmp_path / "out", views=["cam0", "cam1", "cam2"], meshes=False, pictures=False)
    assert done.views == ("cam0", "cam1", "cam2")


# What can't be used.


def picture(height, width):
    return encode_png(np.full((height, width, 1), 90, np.uint8))


def cameras(**values):
    def change(folder):
        content = json.loads((folder / "cameras.json").read_text())
        content["mouth"].update(values)
        (folder / "cameras.json").write_text(json.dumps(content))

    return change


WRONG = {
    "a view is missing": (
        lambda folder: (folder / "mouth").rename(folder / "lips"),
        "no folder 'mouth'.*left-eye, lips",
    ),
    "a frame is missing": (
        lambda folder: (folder / "mouth" / "shot-1.png").unlink(),
        "mouth has no picture shot-1.png",
    ),
    "a frame too many": (
        lambda folder: (folder / "mouth" / "x.png").write_bytes(picture(24, 32)),
        "right-eye has no picture x.png",
    ),
    "too small": (
        lambda folder: (folder / "mouth" / "shot-0.png").write_bytes(picture(12, 16)),
        "12×16 pixels, fewer than the 24×32",
    ),
    "of another shape": (
        lambda folder: (folder / "mouth" / "shot-0.png").write_bytes(picture(48, 48)),
        "48×48 pixels, whose shape differs from the 24×32",
    ),
    "of two sizes": (
        lambda folder: (folder / "mouth" / "shot-2.png").write_bytes(picture(48, 64)),
        "shot-2.png has 48×64 pixels, the first picture of its view 24×32",
    ),
    "no picture": (lambda folder: (folder / "mouth" / "shot-0.png").write_bytes(b"x"), "no PNG picture"),
    "calibrated for another size": (cameras(size=[480, 640]), "calibrated for 480×640 pixels, but its pictures"),
    "no rotation": (cameras(extrinsics=[[1, 2, 3, 4]] * 3), "no rotation"),
    "a camera of NaN": (cameras(intrinsics=[[float("nan")] * 3] * 3), "intrinsics"),
    "not JSON": (lambda folder: (folder / "cameras.json").write_text("{"), "cameras.json can't be used"),
    "a camera too few": (lambda folder: (folder / "cameras.json").write_text("{}"), "no camera 'right-eye'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_folder_that_can_not_be_used_is_refused_with_its_reason(what, model, pictures, tmp_path):
    change, told = WRONG[what]
    folder = pictures(cameras=True)
    change(folder)
    with pytest.raises(CaptureError, match=told):
        drive(model, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_pictures_do_not_drive_is_refused(tmp_path, pictures):
    for name, told in (("dam", "takes no driving signal"), ("lip-flow-keypoint", "no set of pictures")):
        spec = lipflow_core.load_spec(name, ["preset=tiny"])
        folder = lipflow_core.save_model(lipflow_core.assemble(spec), spec, tmp_path / name)
        with pytest.raises(UsageError, match=told):
            drive(folder, pictures(scale=len(name)), tmp_path / "out")


def test_a_wrong_number_of_views_is_refused(model, pictures, tmp_path):
    with pytest.raises(UsageError, match="2 views are named, a, b, but the model sees 3"):
        drive(model, pictures(), tmp_path / "out", views=["a", "b"])


def test_a_folder_of_other_things_is_not_replaced(model, pictures, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(StorageError, match="holds no results of this command"):
        drive(model, pictures(), tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"
