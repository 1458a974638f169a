"""Deep validation: what it finds within files, and that training takes whatever it passes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from lipflow_kit.png_files import read_picture, write_picture
from lipflow_multiface.validation import validate
from lipflow_multiface.writing import write_capture
from PIL import Image
from strict_reading import read_everything

from lipflow_core.errors import CaptureError
from lipflow_core.plans import Mismatch

SEGMENT = "EXP_free_face_0000"
HEADSET = f"lipflow/headset/{SEGMENT}/mouth/000001.png"
MASK = f"lipflow/headset_mask/{SEGMENT}/left-eye/000000.png"
OBJ = f"tracked_mesh/{SEGMENT}/000001.obj"
ARRAYS = f"lipflow/frames/{SEGMENT}.npz"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20] = bytes(20)
    path.write_bytes(content)


def half(path: Path) -> None:
    write_picture(path, read_picture(path, 1)[::2, ::2])


def first_line(text: str):
    def change(path: Path) -> None:
        path.write_text("\n".join([text, *path.read_text().splitlines()[1:]]) + "\n")

    return change


def fewer_faces(path: Path) -> None:
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def without(name: str):
    def change(path: Path) -> None:
        with np.load(path) as stored:
            np.savez(path, **{key: stored[key] for key in stored.files if key != name})

    return change


def only_first_row(path: Path) -> None:
    with np.load(path) as stored:
        np.savez(path, **{name: array[:1] for name, array in stored.items()})


DEEP = {
    "a headset picture, spoilt inside": (HEADSET, spoil, "bad headset picture", "can't be decoded"),
    "a mask, spoilt inside": (MASK, spoil, "bad headset mask", "can't be decoded"),
    "NaN in an .obj": (OBJ, first_line("v nan 0 0"), "bad mesh", "NaN"),
    "an .obj of another topology": (OBJ, fewer_faces, "bad mesh", "its triangles differ"),
    "an .obj with a vertex more": (OBJ, first_line("v 0 0 0\nv 1 1 1"), "bad mesh", "6110 vertices"),
    "an .obj that can't be parsed": (OBJ, first_line("v 0 0"), "bad mesh", "too few entries"),
    "no headset cameras": (ARRAYS, without("headset.camera.extrinsics"), "bad arrays", "nothing as"),
    "no ground truth": (ARRAYS, without("truth.gaze"), "bad arrays", "'truth.gaze'"),
    "no visibility": (ARRAYS, without("keypoints.visible"), "bad arrays", "'keypoints.visible'"),
    "arrays of one frame": (ARRAYS, only_first_row, "bad arrays", "nothing of 1 frames, such as 000001"),
}
SHALLOW = {
    "a headset picture missing": (HEADSET, Path.unlink, "headset picture missing", "is missing"),
    "a mask missing": (MASK, Path.unlink, "headset mask missing", "is missing"),
    "a headset picture cut short": (HEADSET, cut, "bad headset picture", "truncated"),
    "a headset picture of another size": (HEADSET, half, "sizes differ", "1 of 12×16"),
    "a mask of another size": (MASK, half, "sizes differ", "1 of 12×16"),
    "arrays missing": (ARRAYS, Path.unlink, "arrays missing", "should hold headset.camera.intrinsics"),
    "an unfinished writing": (
        "lipflow/capture.json",
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "complete": False})),
        "incomplete",
        "not written to its end",
    ),
}


@pytest.mark.parametrize("name", [*DEEP, *SHALLOW])
def test_damage_of_what_this_project_adds_is_found(name, damaged):
    file, damage, kind, words = (DEEP | SHALLOW)[name]
    damage(damaged / file)
    report = validate(damaged, deep=True, style="none")
    found = [f for f in report.findings if f.kind == kind and words in f.problem and f.severity == "error"]
    assert found, report.findings
    assert bool(validate(damaged, style="none").errors) == (name in SHALLOW)


def test_pictures_of_16_bits_are_told_and_read_scaled(damaged, read, load):
    path = damaged / "images" / SEGMENT / "frontal" / "000000.png"
    grey = read_picture(path, 1)[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    report = validate(damaged, deep=True, style="none")
    assert [(f.severity, f.kind, f.frame) for f in report.findings] == [("warning", "more than 8 bits", 0)]
    seen = load(read(damaged).split("held-out"), [0])["frontal"].images[0, 0]
    assert np.array_equal((seen * 255).round().numpy().astype(np.uint8), np.repeat(grey[None], 3, 0))


def test_segments_with_one_obj_are_told_to_be_hard_for_other_readers(simulated, tmp_path):
    write_capture(simulated, tmp_path / "subject", obj_for_each="segment", style="none")
    report = validate(tmp_path / "subject", deep=True, style="none")
    assert {(finding.severity, finding.kind) for finding in report.findings} == {("warning", "mesh missing")}


def test_a_capture_without_held_out_frames_is_no_capture_to_train_on(damaged):
    lines = (damaged / "frame_list.txt").read_text().splitlines(keepends=True)
    (damaged / "frame_list.txt").write_text("".join(line for line in lines if "neutral" in line or "smile" in line))
    kinds = {finding.kind: finding.problem for finding in validate(damaged, style="none").findings}
    assert "no held-out frames" in kinds["empty split"]


WORDS = ["nan", "inf", "1e300", "-1e30", "-1", "0", "1e-300", "99999", "x", "", "\0", "../..", "é" * 80]


def mutate(root: Path, seed: int) -> str:
    """Change one file of a capture at random; gives what was done."""
    draw = random.Random(seed)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = draw.choice(draw.choice([files, [file for file in files if file.suffix in ("", ".txt", ".json", ".npz")]]))
    content = path.read_bytes()
    how = draw.choice(["drop", "cut", "flip", "word", "word", "swap", "array", "array", "size"])
    if path.suffix == ".npz" and how == "array":
        with np.load(path) as stored:
            arrays = dict(stored)
        name = draw.choice(sorted(arrays))
        change = draw.choice([lambda a: a[:1], lambda a: a * np.nan, lambda a: a[..., None], lambda a: a.astype(str)])
        arrays[name] = change(arrays[name])
        np.savez(path, **arrays)
    elif path.suffix == ".png" and how in ("size", "array"):
        values = read_picture(path)
        write_picture(path, values[::2] if how == "size" else values[..., :1])
    elif how == "drop":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: int(len(content) * draw.random())])
    elif how == "swap":
        other = draw.choice([file for file in files if file.suffix == path.suffix])
        path.write_bytes(other.read_bytes())
    elif how == "word" and path.suffix in ("", ".txt", ".json", ".obj"):
        words = content.decode().split(" ")
        words[draw.randrange(min(len(words), 400))] = draw.choice(WORDS)
        path.write_text(" ".join(words))
    else:
        changed = bytearray(content)
        for _ in range(4):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        path.write_bytes(changed)
    return f"{how} {path.relative_to(root)}"


@pytest.mark.parametrize("seed", range(40))
def test_what_deep_validation_passes_can_be_read(seed, damaged):
    """And what it does not pass is either refused by the reader with an error of its own, or left out."""
    done = " and ".join(mutate(damaged, 100 * seed + again) for again in range(1 + seed % 3))
    try:
        report = validate(damaged, deep=True, style="none")
        passed = not report.errors
    except CaptureError:
        passed = False
    try:
        count = read_everything(damaged)
    except (CaptureError, Mismatch) as error:
        assert not passed, f"{done}: {error}"
    else:
        assert not passed or count == 8, done
