"""Damaged captures: a clear report of each kind of damage, and frames that are skipped and counted, not fatal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from lipflow_multiface.validation import validate
from PIL import Image

from lipflow_core.cli import main
from lipflow_core.errors import CaptureError

SEGMENT = "EXP_free_face_0000"


def cut(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def with_line(path: Path, number: int, text: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = text
    path.write_text("\n".join(lines) + "\n")


def resized(path: Path, size: tuple[int, int]) -> None:
    Image.open(path).resize(size).save(path)


def add_line(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text + "\n")


PICTURE = f"images/{SEGMENT}/dome-01/000001.png"
TEXTURE = f"unwrapped_uv_1024/{SEGMENT}/average/000000.png"
MESH = f"tracked_mesh/{SEGMENT}/000001"

DAMAGE = {
    "truncated picture": (lambda root: cut(root / PICTURE, 0.7), "bad picture", PICTURE, "truncated"),
    "empty picture": (lambda root: cut(root / PICTURE, 0), "bad picture", PICTURE, "no PNG"),
    "missing picture": (lambda root: (root / PICTURE).unlink(), "picture missing", PICTURE, "missing"),
    "picture of another size": (lambda root: resized(root / PICTURE, (16, 20)), "sizes differ", "images", "1 of 20×16"),
    "missing average texture": (lambda root: (root / TEXTURE).unlink(), "average texture missing", TEXTURE, "missing"),
    "missing vertices": (lambda root: (root / f"{MESH}.bin").unlink(), "vertices missing", f"{MESH}.bin", "missing"),
    "wrong vertex count": (
        lambda root: cut(root / f"{MESH}.bin", 0.5),
        "bad vertices",
        f"{MESH}.bin",
        "3054.5 vertices; the topology has 6109",
    ),
    "missing transform": (
        lambda root: (root / f"{MESH}_transform.txt").unlink(),
        "transform missing",
        f"{MESH}_transform.txt",
        "missing",
    ),
    "unreadable transform": (
        lambda root: (root / f"{MESH}_transform.txt").write_text("1 0 0\n"),
        "bad transform",
        f"{MESH}_transform.txt",
        "not three lines of four numbers",
    ),
    "transform that is no rotation": (
        lambda root: (root / f"{MESH}_transform.txt").write_text("1 0 0 0\n0 2 0 0\n0 0 1 0\n"),
        "bad transform",
        f"{MESH}_transform.txt",
        "no rotation",
    ),
    "KRT with a bad line": (
        lambda root: with_line(root / "KRT", 13, "1 2 three"),
        "bad line",
        "KRT:13",
        "camera 'dome-01': 3 numbers of K, row 3",
    ),
    "KRT that ends early": (lambda root: cut(root / "KRT", 0.98), "bad line", "KRT:2", "camera 'dome-02'"),
    "KRT with a reflection": (
        lambda root: with_line(root / "KRT", 6, "-1 0 0 0"),
        "bad calibration",
        "KRT:1",
        "camera 'frontal': [R|t] is a reflection",
    ),
    "Windows line ends in KRT": (
        lambda root: (root / "KRT").write_bytes((root / "KRT").read_bytes().replace(b"\n", b"\r\n")),
        "Windows line ends",
        "KRT",
        "Windows line ends",
    ),
    "Windows line ends in the list": (
        lambda root: (root / "frame_list.txt").write_bytes(
            (root / "frame_list.txt").read_bytes().replace(b"\n", b"\r\n")
        ),
        "Windows line ends",
        "frame_list.txt",
        "Windows line ends",
    ),
    "frame listed twice": (
        lambda root: add_line(root / "frame_list.txt", f"{SEGMENT} 000001"),
        "frame listed twice",
        "frame_list.txt:9",
        "first in line 6",
    ),
    "bad line in the list": (
        lambda root: add_line(root / "frame_list.txt", "EXP_smile"),
        "bad line",
        "frame_list.txt:9",
        "expected 'SEGMENT FRAME'",
    ),
    "no list": (
        lambda root: (root / "frame_list.txt").unlink(),
        "file missing",
        "frame_list.txt",
        "missing",
    ),
    "no mean texture": (lambda root: (root / "tex_mean.png").unlink(), "file missing", "tex_mean.png", "missing"),
    "mean mesh of another length": (
        lambda root: cut(root / "vert_mean.bin", 0.5),
        "bad vertices",
        "vert_mean.bin",
        "the topology has 6109",
    ),
    "variance that is no number": (
        lambda root: (root / "vert_var.txt").write_text("nan"),
        "bad statistics",
        "vert_var.txt",
        "positive",
    ),
    "landmark that is no vertex": (
        lambda root: (root / "lipflow" / "landmarks.json").write_text('{"vertices": [6109]}'),
        "bad landmarks",
        "lipflow/landmarks.json",
        "vertex 6109",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_each_kind_of_damage_is_told(name, damaged):
    damage, kind, where, words = DAMAGE[name]
    damage(damaged)
    report = validate(damaged, style="none")
    found = [f for f in report.findings if f.kind == kind and f.where.startswith(where) and words in f.problem]
    assert found, [vars(finding) for finding in report.findings]
    assert found[0].severity == "error"
    assert str(damaged) not in found[0].problem


def test_a_sound_capture_has_no_findings(written):
    for deep in (False, True):
        assert validate(written, deep=deep, style="none").findings == []


def test_cameras_without_pictures_and_pictures_without_cameras_are_warnings(damaged):
    for segment in (damaged / "images").iterdir():
        (segment / "dome-02").rename(segment / "dome-77")
    report = validate(damaged, style="none")
    told = {finding.kind: finding.problem for finding in report.findings if finding.severity == "warning"}
    assert "'dome-02' has no pictures" in told["camera without pictures"]
    assert "'dome-77'" in told["camera without calibration"]
    assert report.errors == 0


def test_textures_that_are_upside_down_are_told_from_the_pictures(damaged):
    for path in (damaged / "unwrapped_uv_1024").glob("*/average/*.png"):
        with Image.open(path) as picture:
            turned = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        turned.save(path)
    (finding,) = validate(damaged, style="none").findings
    assert (finding.severity, finding.kind) == ("warning", "textures upside down")
    assert "texture_rows to bottom-up" in finding.problem


def test_only_decoding_finds_damage_inside_a_picture(damaged):
    path = damaged / PICTURE
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20] = b"\x00" * 20
    path.write_bytes(content)
    assert validate(damaged, style="none").findings == []
    (finding,) = validate(damaged, deep=True, style="none").findings
    assert (finding.kind, finding.segment, finding.frame) == ("bad picture", SEGMENT, 1)


def test_only_reading_finds_vertices_that_are_no_numbers(damaged):
    vertices = np.fromfile(damaged / f"{MESH}.bin", "<f4")
    vertices[7] = np.nan
    vertices.tofile(damaged / f"{MESH}.bin")
    assert validate(damaged, style="none").findings == []
    assert "NaN" in validate(damaged, deep=True, style="none").findings[0].problem


def test_the_command_ends_with_6_or_0_and_prints_an_overview(written, damaged, capsys):
    assert main(["capture", "validate", str(written)]) == 0
    assert "nothing is missing or wrong" in capsys.readouterr().out
    (damaged / PICTURE).unlink()
    assert main(["capture", "validate", str(damaged)]) == 6
    said = capsys.readouterr().out
    assert f"error: {PICTURE}: is missing" in said
    assert "8, 4 of them held out" in said
    assert main(["capture", "validate", str(damaged), "--json"]) == 6
    data = json.loads(capsys.readouterr().out)
    assert data["errors"] == 1 and data["findings"][0]["frame"] == 1


def test_many_findings_of_a_kind_are_counted(damaged, capsys):
    for path in (damaged / "images" / SEGMENT / "frontal").iterdir():
        path.unlink()
    assert main(["capture", "validate", str(damaged), "--most", "1"]) == 6
    assert "… and 1 more of kind 'picture missing'" in capsys.readouterr().out


def test_no_capture_at_all_is_one_message(tmp_path, capsys):
    assert main(["capture", "validate", str(tmp_path / "nowhere")]) == 6
    assert main(["capture", "validate", str(tmp_path)]) == 6
    assert capsys.readouterr().err.count("error:") == 2


def test_the_folder_around_a_capture_points_into_it(written):
    with pytest.raises(CaptureError, match="Did you mean"):
        validate(written.parent, style="none")


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (PICTURE, "no picture of some camera"),
        (f"unwrapped_uv_1024/{SEGMENT}/average/000001.png", "no average texture"),
        (f"{MESH}.bin", "no vertices"),
        (f"{MESH}_transform.txt", "no head pose"),
        (f"lipflow/headset/{SEGMENT}/mouth/000001.png", "no headset picture"),
    ],
)
def test_frames_that_lack_something_are_skipped_and_counted(file, reason, damaged, read, load):
    (damaged / file).unlink()
    split = read(damaged).split("held-out")
    assert split.skipped == {reason: 1}
    assert (SEGMENT, 1) not in list(zip(split.segments, split.numbers.tolist(), strict=True))
    assert len(load(split)) == len(split) == 3


def test_a_missing_texture_of_one_camera_harms_nothing(damaged, read, load):
    (damaged / "unwrapped_uv_1024" / SEGMENT / "dome-01" / "000001.png").unlink()
    split = read(damaged, headset={"source": "virtual", "size": (24, 32)}).split("held-out")
    assert len(load(split)) == 4


def test_a_damaged_picture_is_named_when_it_is_read(damaged, read, load):
    cut(damaged / PICTURE, 0.7)
    with pytest.raises(CaptureError, match=r"dome-01/000001\.png can't be decoded"):
        load(read(damaged).split("held-out"))


@pytest.mark.parametrize("file", ["KRT", "frame_list.txt"])
def test_windows_line_ends_are_read(file, written, damaged, read, load):
    path = damaged / file
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    one, other = (load(read(folder).split("train"), [0])["dome"] for folder in (written, damaged))
    assert (one.camera.extrinsics == other.camera.extrinsics).all() and (one.images == other.images).all()


def test_a_frame_listed_twice_is_read_once(damaged, read):
    add_line(damaged / "frame_list.txt", f"{SEGMENT} 000001")
    assert len(read(damaged).split("held-out")) == 4


def test_a_bad_line_of_krt_is_named_when_planned(damaged, read):
    with_line(damaged / "KRT", 13, "1 2 three")
    with pytest.raises(CaptureError, match=r"KRT:13: .*'dome-01'"):
        read(damaged)


def test_statistics_that_are_missing_are_taken_from_frames(written, damaged, read, load):
    for name in ("vert_mean.bin", "vert_var.txt", "tex_mean.png", "tex_var.txt"):
        (damaged / name).unlink()
    capture = read(damaged)
    standard = capture.template().standardize(load(capture.split("train"), observations=("face",))["face"])
    assert standard.vertices.std() == pytest.approx(1, abs=0.1)
    assert standard.texture.std() == pytest.approx(1, abs=0.1)
