"""Numbers and files that no capture has: an error that names them, before memory is allocated or anything crashes."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

import numpy as np
import pytest
from lipflow_dome.config import DomeConfig
from lipflow_multiface.config import MultifaceConfig
from lipflow_multiface.krt import KrtCamera, format_krt, read_krt
from lipflow_multiface.layout import CaptureFolder
from lipflow_multiface.overlay import overlay
from lipflow_multiface.validation import validate
from pydantic import ValidationError
from strict_reading import read_everything

from lipflow_core.cli import main
from lipflow_core.errors import CaptureError
from lipflow_core.plans import Mismatch

SEGMENT = "EXP_free_face_0000"
FRAME = f"tracked_mesh/{SEGMENT}/000000"
ARRAYS = f"lipflow/frames/{SEGMENT}.npz"


def append(name, text):
    return lambda root: (root / name).write_text((root / name).read_text() + text)


def camera(**change):
    """Change the first camera of KRT: a function of each named field."""

    def rewrite(root: Path) -> None:
        first, *others = read_krt(root / "KRT")
        values = {name: getattr(first, name) for name in ("name", "intrinsics", "distortion", "extrinsics")}
        values |= {name: new(values[name]) for name, new in change.items()}
        (root / "KRT").write_text(format_krt([KrtCamera(**values), *others]))

    return rewrite


def at(index, value):
    def change(array):
        array = array.copy()
        array[index] = value
        return array

    return change


def arrays(**change):
    """Change arrays beside a segment; None takes one away."""

    def rewrite(root: Path) -> None:
        with np.load(root / ARRAYS) as stored:
            values = dict(stored)
        for name, new in change.items():
            if new is None:
                del values[name]
            else:
                values[name] = new(values[name]) if callable(new) else new
        np.savez(root / ARRAYS, **values)

    return rewrite


def loop(name):
    def make(root: Path) -> None:
        path = root / name
        if path.is_dir():
            path.rename(root / "away")
        else:
            path.unlink()
        path.symlink_to(path.name)

    return make


def fifo(name):
    def make(root: Path) -> None:
        (root / name).unlink()
        os.mkfifo(root / name)

    return make


def sparse(name):
    return lambda root: os.truncate(root / name, 1 << 42)


def text(name, content):
    return lambda root: (root / name).write_text(content)


DEEP = "[" * 100_000
POSE = "1 0 0 0\n0 1 0 0\n0 0 1 "
EXTRINSICS = "headset.camera.extrinsics"
KINDS = {
    "a segment that is an absolute path": (append("frame_list.txt", "/etc 000001\n"), "no plain name"),
    "a segment that leads upwards": (append("frame_list.txt", ".. 000001\n"), "no plain name"),
    "a segment within another": (append("frame_list.txt", "a/b 000001\n"), "no plain name"),
    "a segment too long": (append("frame_list.txt", "x" * 300 + " 000001\n"), "longer than 200 bytes"),
    "a segment with a control character": (append("frame_list.txt", "a\x07b 000001\n"), "no plain name"),
    "a camera that leads upwards": (camera(name=lambda name: "../.."), "no plain name"),
    "a deep capture.json": (text("lipflow/capture.json", DEEP), "nested too deeply"),
    "a capture.json that is a list": (text("lipflow/capture.json", "[]"), "holds no mapping"),
    "deep landmarks": (text("lipflow/landmarks.json", DEEP), "nested too deeply"),
    "huge landmarks": (text("lipflow/landmarks.json", '{"vertices": [1%s]}' % ("0" * 400)), "names vertex"),
    "landmarks of NaN": (text("lipflow/landmarks.json", '{"vertices": [NaN]}'), "whole numbers"),
    "deep regions": (text("lipflow/regions.json", DEEP), "nested too deeply"),
    "regions that are a list": (text("lipflow/regions.json", "[1]"), "holds no regions"),
    "a region without vertices": (text("lipflow/regions.json", '{"eyes": [1]}'), "no list 'vertices'"),
    "a region off the mesh": (text("lipflow/regions.json", '{"eyes": {"vertices": [6109]}}'), "0 to 6108"),
    "a region of a strange name": (text("lipflow/regions.json", '{"a.b": {"vertices": [1]}}'), "named by letters"),
    "a weight of NaN": (text("lipflow/regions.json", '{"eyes": {"vertices": [1], "weights": [NaN]}}'), "from 0 to 1"),
    "a weight too few": (text("lipflow/regions.json", '{"eyes": {"vertices": [1], "weights": []}}'), "from 0 to 1"),
    "a singular K": (camera(intrinsics=at((0, 0), 0.0)), "positive focal lengths"),
    "a mirrored K": (camera(intrinsics=lambda k: -k), "positive focal lengths"),
    "a K without its last row": (camera(intrinsics=at((2, 2), 0.0)), "K is not"),
    "K times 10,000": (camera(intrinsics=lambda k: k * [[1e4], [1e4], [1]]), "focal lengths of"),
    "K over 10,000": (camera(intrinsics=lambda k: k * [[1e-4], [1e-4], [1]]), "focal lengths of"),
    "a camera 1e300 mm away": (camera(extrinsics=at((0, 3), 1e300)), "1e\\+300 mm"),
    "a rotation of 1e200": (camera(extrinsics=at((0, 0), 1e200)), "no rotation"),
    "a distortion of 1e300": (camera(distortion=at(2, 1e300)), "coefficient of 1e\\+300"),
    "a distortion that tears the picture": (camera(distortion=at(0, 1e4)), "moves points of the picture"),
    "a head 1e300 mm away": (text(f"{FRAME}_transform.txt", POSE + "1e300\n"), "1e\\+300 mm"),
    "a pose of NaN": (text(f"{FRAME}_transform.txt", POSE + "nan\n"), "three lines of four numbers"),
    "a ragged pose": (text(f"{FRAME}_transform.txt", "1 0\n0 1 0 0\n0 0 1 0\n"), "three lines of four numbers"),
    "a vertex 1e30 mm away": (
        lambda root: np.full(3 * 6109, 1e30, "<f4").tofile(root / f"{FRAME}.bin"),
        "1e\\+30 mm",
    ),
    "a uv of NaN": (append("tracked_mesh/EXP_neutral_0000/000000.obj", "vt nan 0\n"), "texture coordinates"),
    "a variance of 1e300": (text("vert_var.txt", "1e300"), "1e\\+300"),
    "arrays of wrong rank": (arrays(**{EXTRINSICS: np.zeros(())}), "a row for each"),
    "arrays of another shape": (arrays(**{EXTRINSICS: np.zeros((2, 3, 4, 4))}), "headset.camera.extrinsics"),
    "arrays with a row too many": (arrays(**{"truth.gaze": np.zeros((3, 2, 2))}), "a row for each of 2 frames"),
    "arrays of NaN": (arrays(**{EXTRINSICS: np.full((2, 3, 3, 4), np.nan)}), "NaN or infinity"),
    "arrays that overflow": (arrays(**{"truth.gaze": np.full((2, 2, 2), 1e300)}), "NaN or infinity"),
    "arrays of words": (arrays(**{"truth.gaze": np.array(["a", "b"])}), "expected numbers"),
    "arrays of objects": (arrays(**{"truth.gaze": np.array([None, {}], object)}), "no whole .npz file of plain arrays"),
    "arrays without numbers": (arrays(numbers=None), "no frame numbers"),
    "numbers of rank two": (arrays(numbers=np.zeros((2, 2), int)), "no frame numbers"),
    "a number twice": (arrays(numbers=np.zeros(2, int)), "names a frame twice"),
    "arrays without a camera": (arrays(**{EXTRINSICS: None}), "headset"),
    "arrays that are text": (text(ARRAYS, "not a zip"), "no whole .npz file of plain arrays"),
    "a headset camera that is no rotation": (
        arrays(**{EXTRINSICS: lambda poses: 2 * poses}),
        "headset camera is no rotation",
    ),
    "KRT that links to itself": (loop("KRT"), "KRT"),
    "meshes that link to themselves": (loop("tracked_mesh"), "tracked_mesh"),
    "a segment that links to itself": (loop(f"images/{SEGMENT}"), "images"),
    "a camera that links to itself": (loop(f"images/{SEGMENT}/frontal"), "frontal"),
    "a picture that links to itself": (loop(f"images/{SEGMENT}/frontal/000000.png"), "000000.png"),
    "KRT that is a pipe": (fifo("KRT"), "KRT"),
    "a picture that is a pipe": (fifo(f"images/{SEGMENT}/frontal/000000.png"), "000000.png"),
    "vertices that are a pipe": (fifo(f"{FRAME}.bin"), "000000.bin"),
    "arrays that are a pipe": (fifo(ARRAYS), "npz"),
    "KRT of four terabytes": (sparse("KRT"), "at most"),
    "vertices of four terabytes": (sparse(f"{FRAME}.bin"), "vertices"),
    "an .obj of four terabytes": (sparse("tracked_mesh/EXP_neutral_0000/000000.obj"), "at most"),
}


@pytest.fixture
def little_memory():
    """Let the process allocate 2 GB more than it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("name", KINDS)
def test_validation_tells_it(name, damaged, little_memory):
    damage, words = KINDS[name]
    damage(damaged)
    try:
        report = validate(damaged, deep=True, style="none")
        said = "\n".join(f"{f.where}: {f.problem}" for f in report.findings if f.severity == "error")
    except CaptureError as error:
        said = str(error)
    assert re.search(words, said), said
    assert "pickle" not in said and "unsafely" not in said


@pytest.mark.parametrize("name", KINDS)
def test_reading_it_ends_with_an_error_of_the_capture_at_worst(name, damaged, little_memory):
    KINDS[name][0](damaged)
    for read in (read_everything, lambda root: overlay(CaptureFolder(root), [(SEGMENT, 0)], height=40)):
        try:
            read(damaged)
        except (CaptureError, Mismatch) as error:
            assert "pickle" not in str(error) and "unsafely" not in str(error)


def test_the_command_ends_with_6_and_names_the_line(damaged, capsys):
    append("frame_list.txt", "/etc 000001\n")(damaged)
    assert main(["capture", "validate", str(damaged)]) == 6
    assert "frame_list.txt:9" in capsys.readouterr().out
    assert main(["assemble", "dam", "--check", f"capture={{type: multiface, path: {damaged}}}"]) == 6
    assert "frame_list.txt:9" in capsys.readouterr().err


def test_an_overlay_too_large_is_refused_before_it_is_drawn(written, little_memory):
    with pytest.raises(CaptureError, match="at most 67,108,864 are drawn"):
        overlay(CaptureFolder(written), height=10**9)


@pytest.mark.parametrize("path", ["x" * 300, "nowhere", "a\nb"])
def test_a_path_that_can_be_no_folder_is_an_error_of_the_capture(path, tmp_path):
    with pytest.raises(CaptureError, match=path[:200]):
        validate(tmp_path / path, style="none")
    with pytest.raises(CaptureError):
        read_everything(tmp_path / path)


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-that-name/x"])
def test_a_path_that_means_nothing_is_refused_as_an_option(path):
    with pytest.raises(ValidationError):
        MultifaceConfig(path=path)
    with pytest.raises(ValidationError):
        DomeConfig(cache=path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["", "images", "tracked_mesh", f"images/{SEGMENT}/frontal", "lipflow/frames"])
def test_an_unreadable_folder_is_named(name, damaged):
    folder = damaged / name
    folder.chmod(0)
    try:
        with pytest.raises(CaptureError, match=f"{re.escape(str(folder))}|missing"):
            read_everything(damaged)
        try:
            assert validate(damaged, deep=True, style="none").errors
        except CaptureError as error:
            assert str(folder) in str(error)
    finally:
        folder.chmod(0o755)


BOUNDS = {
    "image": {"image": [16384, 16384]},
    "image times supersampling": {"image": [4096, 4096], "supersampling": 8},
    "headset pictures": {"headset": {"size": [16384, 16384]}},
    "a side": {"image": [10**9, 32]},
    "texture times cameras": {"texture": 4096, "cameras": 150},
    "frames of a sequence": {"frames_per_sequence": 10**9},
    "sequences": {"sequences": 10**12},
    "processes": {"workers": 10**6},
    "gain": {"headset": {"gain": 1e30}},
    "noise": {"headset": {"noise": 1e30}},
    "head motion": {"head_motion": 1e30},
    "identity weights": {"identity": {"nose/nose-hump-incr": 1e30}},
}


@pytest.mark.parametrize("name", BOUNDS)
def test_absurd_options_of_the_dome_are_refused_with_a_reason(name):
    with pytest.raises(ValidationError, match=r"at most|less than or equal"):
        DomeConfig(**BOUNDS[name])


@pytest.mark.parametrize(
    "options", [{"headset": {"size": [16384, 16384]}}, {"image": 10**9}, {"colour": {"gamma": 1e-300}}], ids=str
)
def test_absurd_options_of_captures_on_disk_are_refused(options, written):
    with pytest.raises(ValidationError, match=r"at most|equal to"):
        MultifaceConfig(path=written, **options)
