"""`lipflow-core capture …`, and training on what it made."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lipflow_multiface.commands.simulate import wanted_capture
from lipflow_multiface.layout import CaptureFolder
from lipflow_multiface.overlay import overlay
from PIL import Image

from lipflow_core.cli import main
from lipflow_core.errors import CaptureError
from lipflow_core.registry import default_registry

SIMULATE = ["capture", "simulate", "--subject", "p02", "--preset", "tiny", "--quiet"]
SMALL = ["sequences=1", "frames_per_sequence=2", "held_out_sequences=1", "cameras=2", "image=[24, 24]"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIPFLOW_CORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_simulate_is_deterministic_and_valid(tmp_path, cache, capsys):
    for name in ("one", "two"):
        assert main([*SIMULATE, "--out", str(tmp_path / name), *SMALL]) == 0
    assert "capture: {type: multiface, path:" in capsys.readouterr().out
    assert main(["capture", "validate", str(tmp_path / "one"), "--deep"]) == 0
    one, two = (
        {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ((None, None, 0), {"type": "dome"}),
        ((None, "p02", 3), {"type": "dome", "subject": "p02", "workers": 3}),
        (("multiface", None, 3), {"type": "multiface"}),
        (("no-such", None, 3), {"type": "no-such"}),
    ],
)
def test_workers_are_for_simulating_too_where_the_capture_has_any(arguments, wanted):
    assert wanted_capture(default_registry(), *arguments) == wanted


def test_simulate_says_what_is_wrong_with_its_options(tmp_path, cache, capsys):
    out = str(tmp_path / "out")
    assert main([*SIMULATE, "--out", out, "camras=2"]) == 3
    assert "did you mean 'cameras'" in capsys.readouterr().err
    assert main(["capture", "simulate", "--capture", "doom", "--out", out]) == 3
    (tmp_path / "file").write_text("")
    assert main([*SIMULATE, "--out", str(tmp_path / "file" / "capture")]) == 8


def test_a_capture_without_its_path_is_told_what_it_lacks(capsys):
    assert main(["assemble", "dam", "--check", "capture={type: multiface}"]) == 3
    assert "capture.path: is required" in capsys.readouterr().err
    assert main(["assemble", "dam", "--check", "capture={type: multiface, path: nowhere}"]) == 6
    assert "there is no folder nowhere" in capsys.readouterr().err


def test_pack_packs_the_capture_of_its_own_plugin_whatever_an_alias_says(written, tmp_path, monkeypatch, cache, capsys):
    (tmp_path / "registry.toml").write_text('[aliases.capture]\nmultiface = "dome"\n')
    monkeypatch.chdir(tmp_path)
    assert main(["capture", "pack", str(written), "--preset", "tiny", "image=16", "--quiet"]) == 0
    assert "train: 4 frames" in capsys.readouterr().out


def test_simulate_takes_the_captures_and_renderer_that_the_registry_names(
    written, tmp_path, monkeypatch, cache, capsys
):
    (tmp_path / "registry.toml").write_text(
        f'[defaults]\nrenderer = "torch"\ncapture = {{ type = "multiface", path = "{written}" }}\n'
    )
    monkeypatch.chdir(tmp_path)
    assert main(["capture", "simulate", "--out", "again", "--preset", "tiny", "image=16", "--quiet"]) == 0
    assert "again: 8 frames" in capsys.readouterr().out


def test_pack_says_where_and_is_found(written, tmp_path, capsys):
    pack = ["capture", "pack", str(written), "--preset", "tiny", "--out", str(tmp_path / "packs"), "--quiet"]
    assert main([*pack, "image=16"]) == 0
    said = capsys.readouterr().out
    assert "train: 4 frames" in said and f"cache: {tmp_path / 'packs'}" in said
    (folder,) = (tmp_path / "packs").iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    assert main([*pack, "image=16"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    assert main([*pack, "image=[999, 999]"]) == 4
    assert "larger than the pictures on disk" in capsys.readouterr().err


def test_overlay_lies_on_the_face(written, tmp_path):
    """Wires and keypoints are drawn where the picture shows skin, from every camera."""
    sheet = overlay(CaptureFolder(written), height=40)
    assert sheet.cameras == ("frontal", "dome-01", "dome-02") and len(sheet.frames) == 4
    drawn = np.asarray(sheet.picture).astype(int)
    for row, (segment, number) in enumerate(sheet.frames):
        for column, camera in enumerate(sheet.cameras):
            picture = np.asarray(Image.open(CaptureFolder(written).picture(segment, camera, number))).astype(int)
            cell = drawn[row * 40 : row * 40 + 40, column * 32 : column * 32 + 32]
            changed = (np.abs(cell - picture).sum(-1) > 40)[16:]
            face = (picture.sum(-1) > 20)[16:]
            assert changed.sum() > 50
            assert (changed & face).sum() / changed.sum() > 0.85, (camera, segment)


def test_overlay_of_chosen_frames_and_cameras(written, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    command = ["capture", "overlay", str(written), "--out", str(out), "--height", "80", "--cameras", "dome-02"]
    for which in ("EXP_ROM_0001/1,EXP_ROM_0001/000000", "EXP_ROM_0001", "0:2", "1:4:2"):
        assert main([*command, "--frames", which, "--points-only"]) == 0
        with Image.open(out) as sheet:
            assert sheet.size == (64, 160)
        assert "2 frames by 1 camera (dome-02)" in capsys.readouterr().out
    assert main([*command, "--frames", "EXP_ROM_0001/77"]) == 2
    assert "there is no frame 'EXP_ROM_0001/77' among these 8 frames of 4 segments" in capsys.readouterr().err
    with pytest.raises(CaptureError, match="no camera 'x'"):
        overlay(CaptureFolder(written), cameras=["x"])


def test_overlay_says_where_a_picture_is_missing(damaged):
    (damaged / "images" / "EXP_ROM_0001" / "dome-01" / "000001.png").unlink()
    assert overlay(CaptureFolder(damaged), [("EXP_ROM_0001", 1)], ["dome-01"]).picture.size == (320, 320)


@pytest.mark.parametrize("spec", ["lip-flow-hmc", "lip-flow-keypoint"])
def test_a_capture_on_disk_trains_and_is_fitted(spec, written, tmp_path, cache, capsys):
    run, common = str(tmp_path / "run"), ["preset=tiny", "device=cpu"]
    capture = f"capture={{type: multiface, path: {written}}}"
    steps = ["training.stages.0.steps=1", "training.batch=2", "training.threads=1"]
    assert main(["train", spec, capture, *common, *steps, "--out", run, "--quiet"]) == 0
    capsys.readouterr()
    assert main(["fit", run, "fitting.steps=2", "--out", str(tmp_path / "fit"), "--frames", "0:2", "--json"]) == 0
    assert "frames" in json.loads(capsys.readouterr().out)
