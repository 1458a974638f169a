"""The options of capture `multiface`: sizes, cameras, colours, lenses, headset, keypoints."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from lipflow_kit.cameras import shrink_intrinsics
from lipflow_kit.lenses import distort, largest_distortion
from lipflow_kit.resampling import shrink
from lipflow_multiface.krt import KrtCamera, format_krt, read_krt
from PIL import Image

from lipflow_core.errors import CaptureError
from lipflow_core.plans import Mismatch

VIRTUAL = {"source": "virtual", "size": (24, 32)}


@pytest.fixture
def frames(written, read, load):
    """Load the held-out frames of the capture on disk under options."""

    def frames(observations=("face", "dome"), folder=written, **options):
        return load(read(folder, **options).split("held-out"), observations=observations)

    return frames


def rewritten(folder, change):
    """Write KRT anew, every camera changed."""
    cameras = [change(camera) for camera in read_krt(folder / "KRT")]
    (folder / "KRT").write_text(format_krt(cameras))


@pytest.mark.parametrize("size", [(20, 16), (13, 11), (40, 32)])
def test_smaller_pictures_are_area_means_with_cameras_to_match(size, frames):
    full, small = frames()["dome"], frames(image=size)["dome"]
    assert small.images.shape[-2:] == size
    expected = shrink(full.images[1, 2].permute(1, 2, 0).numpy() * 255, size)
    assert np.abs(small.images[1, 2].permute(1, 2, 0).numpy() * 255 - expected).max() < 0.51
    points = torch.tensor([[[[0.0, 0.0, 40.0], [30.0, -20.0, 10.0]]]]).expand(4, 3, 2, 3)
    (before, _), (after, _) = full.camera.project(points), small.camera.project(points)
    scale = torch.tensor([size[1] / 32, size[0] / 40])
    torch.testing.assert_close((before + 0.5) * scale - 0.5, after, rtol=0, atol=1e-3)
    assert (shrink(full.mask[0, 0, ..., None].numpy(), size)[..., 0] - small.mask[0, 0].numpy()).std() < 0.1


def test_one_number_is_the_longer_side_and_never_enlarges(frames):
    assert frames(image=20)["dome"].images.shape[-2:] == (20, 16)
    assert frames(image=500, texture=500)["dome"].images.shape[-2:] == (40, 32)
    assert frames(texture=8)["face"].texture.shape[-2:] == (8, 8)


def test_a_size_larger_than_on_disk_is_a_mismatch(read, written):
    with pytest.raises(Mismatch, match="64×64 is larger than the pictures on disk, 40×32"):
        read(written, image=(64, 64))


def test_cameras_are_read_in_the_order_asked_for(frames):
    every, some = frames()["dome"], frames(cameras=["dome-02", "frontal"])["dome"]
    assert torch.equal(some.images, every.images[:, [2, 0]])
    assert torch.equal(some.camera.extrinsics, every.camera.extrinsics[:, [2, 0]])


def test_an_unknown_camera_is_a_mismatch_that_names_those_there_are(read, written):
    with pytest.raises(Mismatch, match="no camera 'dome-09'; it has frontal, dome-01, dome-02"):
        read(written, cameras=["frontal", "dome-09"])
    with pytest.raises(Mismatch, match="frontal camera 'dome-02' is not among"):
        read(written, cameras=["dome-01"], frontal="dome-02")


def test_a_camera_that_filmed_few_segments_is_left_out(damaged, read):
    for segment in list((damaged / "images").iterdir())[:2]:
        for picture in (segment / "dome-01").iterdir():
            picture.unlink()
        (segment / "dome-01").rmdir()
    assert read(damaged).split("train").cameras == ["frontal", "dome-02"]


def test_the_frontal_camera_is_that_before_the_face_or_the_one_named(frames, read, written):
    names = ("dome", "frontal")
    assert read(written, cameras=["dome-02", "frontal"]).split("train").frontal == 1
    frame = frames(names)
    assert torch.equal(frame["frontal"].images, frame["dome"].images[:, :1])
    frame = frames(names, frontal="dome-01")
    assert torch.equal(frame["frontal"].images, frame["dome"].images[:, 1:2])
    assert torch.equal(frame["frontal"].camera.extrinsics, frame["dome"].camera.extrinsics[:, 1:2])


def test_held_out_segments_are_those_with_the_prefixes_given(read, written):
    capture = read(written, held_out=["EXP_ROM"])
    assert {*capture.split("held-out").segments} == {"EXP_ROM_0001"}
    assert "EXP_free_face_0000" in capture.split("train").segments


def test_a_split_without_frames_says_so(read, written):
    with pytest.raises(CaptureError, match="no held-out frames"):
        read(written, held_out=["EXP_nothing"]).split("held-out")


def test_textures_may_be_stored_the_other_way_up(damaged, frames, read):
    for path in [*(damaged / "unwrapped_uv_1024").glob("*/average/*.png"), damaged / "tex_mean.png"]:
        Image.open(path).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(path)
    other = frames(folder=damaged, texture_rows="bottom-up")["face"].texture
    assert torch.equal(other, frames()["face"].texture)
    assert torch.equal(
        read(damaged, texture_rows="bottom-up").template().texture_mean,
        read(damaged).template().texture_mean.flip(1),
    )


def test_gain_and_gamma_change_the_pictures_of_each_camera(frames):
    plain = frames()
    colour = {"gain": {"dome-01": (2.0, 1.0, 0.5), "*": (1.0, 1.0, 1.0)}, "gamma": 2.0}
    lit = frames(colour=colour)
    gains = torch.tensor(colour["gain"]["dome-01"])[:, None, None]
    expected = (plain["dome"].images[:, 1] * gains).clamp(0, 1).sqrt()
    torch.testing.assert_close(lit["dome"].images[:, 1], expected, rtol=0, atol=0.003)
    torch.testing.assert_close(lit["dome"].images[:, 0], plain["dome"].images[:, 0].sqrt(), rtol=0, atol=0.003)
    torch.testing.assert_close(lit["face"].texture, plain["face"].texture.sqrt(), rtol=0, atol=0.003)


def test_lens_distortion_is_removed(damaged, frames):
    """A picture bent by a lens, read with that lens in KRT, is the straight picture again."""
    lens = np.array([0.4, 0.05, 0.01, -0.008, 0.0])
    y, x = np.meshgrid(np.arange(40.0), np.arange(32.0), indexing="ij")
    straight = np.stack([128 + 80 * np.sin(x / 6), 128 + 80 * np.cos(y / 7), 128 + 60 * np.sin((x + y) / 8)], -1)
    intrinsics = np.array([[40.0, 0, 15.5], [0, 40.0, 19.5], [0, 0, 1]])
    seen = np.stack([x, y], -1)
    ideal = seen.copy()
    for _ in range(50):
        ideal += seen - distort(ideal, intrinsics, lens)
    x, y = ideal[..., 0], ideal[..., 1]
    bent = np.stack([128 + 80 * np.sin(x / 6), 128 + 80 * np.cos(y / 7), 128 + 60 * np.sin((x + y) / 8)], -1)
    assert largest_distortion(intrinsics, lens, (40, 32)) > 1
    for path in (damaged / "images").glob("*/dome-01/*.png"):
        Image.fromarray(np.rint(bent).astype(np.uint8)).save(path)

    def change(camera):
        is_bent = camera.name == "dome-01"
        return KrtCamera(camera.name, intrinsics, lens, camera.extrinsics) if is_bent else camera

    rewritten(damaged, change)
    read = frames(("dome",), folder=damaged)["dome"].images[0, 1].permute(1, 2, 0).numpy() * 255
    inner = (slice(5, -5), slice(5, -5))
    assert np.abs(read - straight)[inner].max() < 2.5
    assert np.abs(bent - straight)[inner].max() > 10
    ignored = frames(("dome",), folder=damaged, distortion="ignore")["dome"].images[0, 1].permute(1, 2, 0).numpy()
    assert np.abs(ignored * 255 - bent).max() < 0.51
    with pytest.raises(Mismatch, match="lens of camera 'dome-01'"):
        frames(folder=damaged, distortion="refuse")


def test_negligible_distortion_leaves_pictures_as_they_are(damaged, frames):
    lens = np.array([1e-6, 0, 0, 0, 0])
    rewritten(damaged, lambda camera: KrtCamera(camera.name, camera.intrinsics, lens, camera.extrinsics))
    assert torch.equal(frames(("dome",), folder=damaged)["dome"].images, frames(("dome",))["dome"].images)


def test_intrinsics_of_smaller_pictures_are_exact():
    k = np.array([[2000.0, 0, 666.5], [0, 2000.0, 1023.5], [0, 0, 1]])
    small = shrink_intrinsics(k, (2048, 1334), (256, 167))
    assert small[0, 2] == pytest.approx((667) * 167 / 1334 - 0.5)
    assert small[1, 1] == pytest.approx(250)


def test_virtual_headset_pictures_show_what_recorded_ones_show(frames):
    """Filmed from the textures on disk by cameras a little elsewhere: as bright, and covered about as much."""
    recorded = frames(("headset",))["headset"]
    virtual = frames(("headset",), headset={**VIRTUAL, "slip": 0, "gain": 0, "noise": 0})["headset"]
    assert virtual.images.shape == recorded.images.shape
    assert (virtual.mask.mean((0, 2, 3)) - recorded.mask.mean((0, 2, 3))).abs().max() < 0.2

    def brightness(views):
        face = views.mask.unsqueeze(2)
        return (views.images * face).sum((0, 2, 3, 4)) / face.sum((0, 2, 3, 4))

    torch.testing.assert_close(brightness(virtual), brightness(recorded), rtol=0.35, atol=0)


def test_virtual_headset_pictures_record_what_was_sampled(frames):
    names = ("headset", "sampled")
    one, again, other = (frames(names, headset={**VIRTUAL, "seed": seed}) for seed in (0, 0, 1))
    assert torch.equal(one["headset"].images, again["headset"].images)
    assert not torch.equal(one["sampled"].light, other["sampled"].light)
    shapes = {"slip": (4, 3, 4), "light": (4, 3, 4), "background": (4, 3, 3), "noise": (4, 3)}
    assert {name: tuple(getattr(one["sampled"], name).shape) for name in shapes} == shapes
    still = frames(names, headset={**VIRTUAL, "slip": 0})
    fitted = still["headset"].camera.extrinsics[0]
    assert torch.equal(still["headset"].camera.extrinsics, fitted.expand(4, 3, 3, 4))
    slip = one["sampled"].slip
    moved = still["headset"].camera.moved(slip[:, None].expand(4, 3, 3, 4))
    torch.testing.assert_close(moved.extrinsics, one["headset"].camera.extrinsics, rtol=0, atol=1e-4)


def test_a_frame_looks_the_same_whichever_frames_are_skipped_before_it(damaged, frames):
    before = frames(("headset",), folder=damaged, headset=VIRTUAL)["headset"].images
    (damaged / "tracked_mesh" / "EXP_free_face_0000" / "000000.bin").unlink()
    after = frames(("headset",), folder=damaged, headset=VIRTUAL)["headset"].images
    assert torch.equal(before[1:], after)


def test_anchors_move_the_virtual_cameras(frames):
    plain = frames(("headset",), headset={**VIRTUAL, "slip": 0})["headset"].camera
    moved = frames(("headset",), headset={**VIRTUAL, "slip": 0, "mouth": (0.0, -72.0, 90.0)})["headset"].camera
    assert torch.equal(plain.extrinsics[:, :2], moved.extrinsics[:, :2])
    assert (moved.position[:, 2, 2] - plain.position[:, 2, 2]).min() > 10


def test_a_capture_without_headset_pictures(read, written):
    capture = read(written, headset={"source": "none"})
    assert not any(name.startswith("headset") for name in capture.planned.outputs)
    with pytest.raises(CaptureError, match="no observation 'headset'"):
        capture.split("train").load(_request("headset"))


def test_recorded_headset_pictures_must_be_there(damaged, read):
    (damaged / "lipflow" / "headset").rename(damaged / "elsewhere")
    with pytest.raises(CaptureError, match="no headset pictures"):
        read(damaged, headset={"source": "recorded"})


def test_landmarks_from_a_file(frames, read, written, tmp_path):
    file = tmp_path / "few.txt"
    file.write_text("10 20\n30\n")
    frame = frames(("face", "keypoints"), landmarks=file)
    keypoints = frame["keypoints"]
    places, _ = keypoints.camera.project(frame["face"].vertices[:, [10, 20, 30]])
    torch.testing.assert_close(keypoints.points, places, rtol=0, atol=1e-3)
    assert read(written, landmarks=file).planned.outputs["template.landmarks"] == (3,)


def test_landmarks_are_chosen_where_there_are_none(damaged, read, load):
    (damaged / "lipflow" / "landmarks.json").unlink()
    capture = read(damaged)
    chosen = capture.template().landmarks
    assert len(chosen) == 274 == len(set(chosen.tolist()))
    assert torch.equal(chosen, read(damaged).template().landmarks)
    assert (capture.template().vertices_mean[chosen, 2] > -5).all()


def test_regions_from_a_file(read, written, tmp_path):
    file = tmp_path / "regions.json"
    file.write_text('{"nose": {"vertices": [3, 7], "weights": [1, 0.5]}}')
    capture = read(written, regions=file)
    assert capture.planned.regions == ("nose",)
    nose = capture.template().regions["nose"]
    assert nose.shape == (6109,) and nose.nonzero()[:, 0].tolist() == [3, 7] and nose[7] == 0.5
    assert capture.identity == read(written).identity  # the frames are the same


def test_eyes_and_mouth_are_found_where_no_file_tells_them(damaged, read):
    true = read(damaged).template().regions
    (damaged / "lipflow" / "regions.json").unlink()
    estimated = read(damaged).template().regions
    assert list(estimated) == ["eyes", "mouth"]
    for name, weights in estimated.items():
        assert (weights * true[name]).sum() > 0.7 * true[name].sum(), name


def test_without_a_recording_keypoints_are_projected_and_hidden_ones_told(damaged, read, load):
    for path in (damaged / "lipflow" / "frames").iterdir():
        path.unlink()
    keypoints = load(read(damaged, headset=VIRTUAL).split("train"), observations=("keypoints", "face"))["keypoints"]
    assert 0.5 < keypoints.visible.mean() < 1
    assert keypoints.points.shape == (4, 274, 2)


def test_recorded_keypoints_move_with_the_size_of_pictures(frames):
    full, small = frames(("keypoints",))["keypoints"], frames(("keypoints",), image=(20, 16))["keypoints"]
    torch.testing.assert_close((full.points + 0.5) / 2 - 0.5, small.points, rtol=0, atol=1e-5)


def test_no_batch_is_too_small(read, written, load):
    for headset in ({}, {"headset": VIRTUAL}):
        assert len(load(read(written, **headset).split("train"), frames=np.zeros(0, np.int64))) == 0


@pytest.mark.parametrize("wrong", [{"cameras": ["a", "a"]}, {"texture_rows": "sideways"}, {"headset": {"size": 3}}])
def test_wrong_options_are_refused(wrong, read, written):
    with pytest.raises(ValueError):
        read(written, **wrong)


def test_planning_imports_no_torch(written):
    import subprocess
    import sys

    program = (
        "import sys\n"
        "from lipflow_multiface.config import MultifaceConfig\n"
        "from lipflow_core.plans import CaptureInputs\n"
        f"planned = MultifaceConfig(path={str(written)!r}).plan(CaptureInputs())\n"
        "print(planned.outputs['dome.images'], 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "(3, 3, 40, 32) False\n"


def test_validated_json_of_the_capture_is_plain(written):
    assert json.loads((written / "lipflow" / "capture.json").read_text())["complete"] is True


def _request(*observations):
    from lipflow_core.interfaces import FrameRequest

    return FrameRequest(np.arange(1), observations, np.zeros((1, 1), np.int64))
