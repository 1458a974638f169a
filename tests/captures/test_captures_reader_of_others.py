"""A reader written from the description of the format alone, without any of ours: what would others see?"""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image


class Reader:
    """Reads Multiface's layout as its description says, and nothing else."""

    def __init__(self, root):
        self.root = root
        self.frames = [line.split(" ") for line in (root / "frame_list.txt").read_text().split("\n") if line]
        self.cameras = {}
        with (root / "KRT").open() as file:
            while name := file.readline().rstrip("\n"):
                k = np.array([[float(word) for word in file.readline().split()] for _ in range(3)])
                distortion = [float(word) for word in file.readline().split()]
                rt = np.array([[float(word) for word in file.readline().split()] for _ in range(3)])
                assert file.readline() == "\n"
                self.cameras[name] = (k, distortion, rt)

    def vertices(self, segment, frame):
        raw = (self.root / "tracked_mesh" / segment / f"{frame}.bin").read_bytes()
        assert len(raw) % 12 == 0
        return np.frombuffer(raw, "<f4").reshape(-1, 3)

    def pose(self, segment, frame):
        return np.loadtxt(self.root / "tracked_mesh" / segment / f"{frame}_transform.txt")

    def picture(self, segment, camera, frame):
        return np.asarray(Image.open(self.root / "images" / segment / camera / f"{frame}.png"))

    def texture(self, segment, camera, frame):
        return np.asarray(Image.open(self.root / "unwrapped_uv_1024" / segment / camera / f"{frame}.png"))

    def project(self, segment, frame, camera):
        k, _, rt = self.cameras[camera]
        pose = self.pose(segment, frame)
        world = self.vertices(segment, frame) @ pose[:, :3].T + pose[:, 3]
        image = (world @ rt[:, :3].T + rt[:, 3]) @ k.T
        return image[:, :2] / image[:, 2:]

    def obj(self, segment, frame):
        v, vt, f = [], [], []
        for line in (self.root / "tracked_mesh" / segment / f"{frame}.obj").read_text().splitlines():
            kind, *words = line.split(" ")
            if kind == "f":
                f.append([tuple(int(part) for part in word.split("/")) for word in words])
            else:
                {"v": v, "vt": vt}[kind].append([float(word) for word in words])
        return np.array(v), np.array(vt), np.array(f)


@pytest.fixture(scope="module")
def reader(written):
    return Reader(written)


def test_frames_are_segment_and_six_digits(reader, simulated):
    told = [
        (segment, f"{number:06d}")
        for split in (simulated.split("train"), simulated.split("held-out"))
        for segment, number in zip(split.segments, split.numbers, strict=True)
    ]
    assert [tuple(frame) for frame in reader.frames] == told


def test_cameras_come_in_order_with_five_distortion_values(reader, simulated):
    assert list(reader.cameras) == list(simulated.split("train").cameras)
    for k, distortion, rt in reader.cameras.values():
        assert k.shape == (3, 3) and len(distortion) == 5 and rt.shape == (3, 4)
        assert np.allclose(rt[:, :3] @ rt[:, :3].T, np.eye(3), atol=1e-9) and np.linalg.det(rt[:, :3]) > 0


def test_vertices_project_where_the_simulated_cameras_see_them(reader, simulated, load):
    for index in (0, 3):
        frame = load(simulated.split("held-out"), [index])
        segment, number = frame.segments[0], f"{int(frame.numbers[0]):06d}"
        places, depth = frame["dome"].camera.project(frame["face"].vertices[:, None].expand(-1, 3, -1, -1))
        assert (depth > 0).all()
        for position, camera in enumerate(reader.cameras):
            error = np.abs(reader.project(segment, number, camera) - places[0, position].numpy()).max()
            assert error < 0.01, camera


def test_the_obj_counts_from_one_and_holds_the_frame(reader):
    segment, number = reader.frames[0]
    v, vt, f = reader.obj(segment, number)
    assert np.array_equal(v.astype(np.float32), reader.vertices(segment, number))
    assert f[..., 0].min() == 1 and f[..., 0].max() == len(v)
    assert f[..., 1].min() == 1 and f[..., 1].max() == len(vt)


def test_row_zero_of_a_texture_is_the_upper_end_of_v(reader):
    """Colours at a vertex's place in the texture agree with those at its place in the picture; flipped they do not."""
    segment, number = reader.frames[0]
    v, vt, f = reader.obj(segment, number)
    corners = f.reshape(-1, 2) - 1
    vertex, first = np.unique(corners[:, 0], return_index=True)
    uv = vt[corners[first, 1]]
    front = np.isin(vertex, json.loads((reader.root / "lipflow" / "landmarks.json").read_text())["vertices"])
    front &= np.abs(v[vertex, 0]) < 50
    picture = reader.picture(segment, "frontal", number).astype(float).sum(-1)
    x, y = np.rint(reader.project(segment, number, "frontal")[vertex[front]]).astype(int).T
    seen = picture[y, x]

    def agreement(texture):
        size = len(texture)
        column, row = np.clip((uv[front] * size).astype(int), 0, size - 1).T
        return np.corrcoef(seen, texture[size - 1 - row, column])[0, 1]

    for name in ("average", "frontal"):
        texture = reader.texture(segment, name, number).astype(float).sum(-1)
        assert agreement(texture) > max(0.4, agreement(texture[::-1]) + 0.3), name
    mean = np.asarray(Image.open(reader.root / "tex_mean.png")).astype(float).sum(-1)
    assert agreement(mean) > agreement(mean[::-1]) + 0.2


def test_statistics_are_in_the_units_of_the_files(reader, simulated):
    template = simulated.template()
    mean = np.fromfile(reader.root / "vert_mean.bin", "<f4").reshape(-1, 3)
    assert np.array_equal(mean, template.vertices_mean.numpy())
    assert float((reader.root / "vert_var.txt").read_text()) ** 0.5 == pytest.approx(float(template.vertices_scale))
    assert float((reader.root / "tex_var.txt").read_text()) ** 0.5 == pytest.approx(255 * float(template.texture_scale))


def test_the_texture_of_a_camera_is_black_where_it_sees_nothing(reader):
    segment, number = reader.frames[0]
    blank = [(reader.texture(segment, camera, number).max(-1) == 0).mean() for camera in ("average", "frontal")]
    assert blank[0] < 0.2 < blank[1]
