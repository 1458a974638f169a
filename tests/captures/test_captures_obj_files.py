"""The files .obj: others' spellings, what is wrong in them, and those that are written."""

from __future__ import annotations

import numpy as np
import pytest
from lipflow_multiface.obj_files import Mesh, read_mesh
from lipflow_multiface.obj_text import format_mesh, format_vertices
from lipflow_multiface.tracked_mesh import read_vertices
from lipflow_multiface.writing import write_capture

from lipflow_core.errors import CaptureError, StorageError

VERTICES = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
UV = "vt 0 0\nvt 1 0\nvt 0 1\nvt 1 1\n"


@pytest.fixture
def parse(tmp_path):
    def parse(text: str) -> Mesh:
        (tmp_path / "mesh.obj").write_text(text)
        return read_mesh(tmp_path / "mesh.obj")

    return parse


SAME = {
    "plain": "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n",
    "with normals": "vn 0 0 1\nf 1/1/1 2/2/1 3/3/1\nf 1/1/1 3/3/1 4/4/1\n",
    "some with normals": "vn 0 0 1\nf 1/1/1 2/2 3/3\nf 1/1 3/3/1 4/4\n",
    "slashes that add up": "vn 0 0 1\nf 1/1/1 2/2/1 3/3\nf 1/1 3/3 4/4\n",
    "led by blanks": "  f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n",
    "tabs among plain lines": "f 1/1 2/2 3/3\nf\t1/1\t3/3\t4/4\n",
    "trailing blanks": "f 1/1 2/2 3/3 \nf 1/1 3/3 4/4\n",
    "comments": "# faces\nf 1/1 2/2 3/3 # the first\nf 1/1 3/3 4/4\n",
    "groups": "g head\nusemtl skin\ns 1\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\n",
    "a polygon": "f 1/1 2/2 3/3 4/4\n",
    "no last line end": "f 1/1 2/2 3/3\nf 1/1 3/3 4/4",
    "Windows line ends": "f 1/1 2/2 3/3\r\nf 1/1 3/3 4/4\r\n",
}


@pytest.mark.parametrize("name", SAME)
def test_all_spellings_give_the_same_mesh(name, parse):
    mesh = parse(VERTICES + UV + SAME[name])
    assert mesh.triangles.tolist() == mesh.uv_triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert mesh.vertices.shape == (4, 3) and mesh.uv.shape == (4, 2)


def test_lines_may_come_in_any_order(parse):
    mesh = parse("v 0 0 0\nvt 0 0\nv 1 0 0\nvt 1 0\n\tv 0 1 0\nvt 0 1\nf 1/1 2/2 3/3\n")
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert mesh.uv.tolist() == [[0, 0], [1, 0], [0, 1]]


WRONG = {
    "without uv": ("f 1 2 3\n", r":9: .*'1' has no texture coordinate; expected 'VERTEX/TEXTURE'"),
    "normals without uv": ("f 1//1 2//1 3//1\n", "no texture coordinate"),
    "counted from 0": ("f 0/0 1/1 2/2\n", "counted from 1|count from 1"),
    "counted from the end": ("f -1/-1 -2/-2 -3/-3\n", "does not count from 1"),
    "a vertex that is not there": ("f 1/1 2/2 5/3\n", "names vertex 5; they are counted from 1 to 4"),
    "a uv that is not there": ("f 1/1 2/2 3/9\n", "names texture coordinate 9"),
    "an absurd index": (f"f 1/1 2/2 3/{10**30}\n", "does not count from 1"),
    "two corners": ("f 1/1 2/2\n", "too few entries"),
    "words": ("f a/b c/d e/f\n", "invalid literal"),
    "no faces": ("", "no faces"),
    "a vertex of NaN": ("v nan 0 0\nf 1/1 2/2 3/3\n", "NaN"),
    "a vertex too far": ("v 1e30 0 0\nf 1/1 2/2 3/3\n", "1e\\+30 mm"),
    "an overflowing vertex": ("v 1e300 0 0\nf 1/1 2/2 3/3\n", "infinity"),
    "a uv of NaN": ("vt nan 0\nf 1/1 2/2 3/3\n", "NaN or infinity in its texture coordinates"),
    "an infinite uv": ("vt 0 inf\nf 1/1 2/2 3/3\n", "NaN or infinity in its texture coordinates"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_the_file(name, parse):
    text, reason = WRONG[name]
    with pytest.raises(CaptureError, match=rf"mesh\.obj.*({reason})"):
        parse(VERTICES + UV + text)


def test_written_numbers_are_read_back_exactly(parse):
    random = np.random.default_rng(0)
    values = (10 ** random.uniform(-9, 6, 3000) * random.choice([-1, 1], 3000)).astype(np.float32)
    vertices = np.concatenate([values, np.float32([0, -0.0, 1, -1, 10, 0.1, 1e6, -1e6, 99999.99])]).reshape(-1, 3)
    corners = np.arange(3)[None]
    mesh = Mesh(vertices, random.uniform(0, 1, (3, 2)).astype(np.float32), corners, corners)
    read = parse(format_mesh(mesh).decode())
    assert np.array_equal(read.vertices, vertices) and np.array_equal(read.uv, mesh.uv)


def test_written_numbers_look_as_python_prints_them():
    values = np.float32([[12.5, -0.25, 0], [-187.654321, 0.000123, 64]])
    assert format_vertices(values).decode() == "v 12.5 -0.25 0\nv -187.654327 0.000123 64\n".replace(
        "0.000123", f"{float(np.float32(0.000123)):.9g}"
    )


def test_every_frame_has_its_own_obj(written):
    listed = [line.split() for line in (written / "frame_list.txt").read_text().splitlines()]
    first = None
    for segment, number in listed:
        path = written / "tracked_mesh" / segment / f"{number}.obj"
        mesh = read_mesh(path)
        first = first or mesh
        assert np.array_equal(mesh.vertices, read_vertices(path.with_suffix(".bin"), 6109))
        assert np.array_equal(mesh.triangles, first.triangles) and np.array_equal(mesh.uv, first.uv)


def test_one_obj_for_each_segment_on_request(simulated, tmp_path, read):
    folder = tmp_path / "subject"
    write_capture(simulated, folder, obj_for_each="segment", style="none")
    assert {len(list(segment.glob("*.obj"))) for segment in (folder / "tracked_mesh").iterdir()} == {1}
    assert len(read(folder).split("train")) == 4
    with pytest.raises(StorageError, match="not an earlier part"):
        write_capture(simulated, folder, style="none")
