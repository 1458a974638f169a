"""A capture that changes on disk is seen as it is now, by the same process."""

from __future__ import annotations

import numpy as np
import pytest
from lipflow_kit.packing import PackedSplit
from lipflow_kit.png_files import read_picture, write_picture


def larger(path):
    write_picture(path, np.repeat(np.repeat(read_picture(path), 2, 0), 2, 1))


def retopologise(root):
    for path in (root / "tracked_mesh").glob("*/*.obj"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join(lines[:-1]) + "\n")


def resize_pictures(root):
    for path in (root / "images").rglob("*.png"):
        larger(path)


def resize_textures(root):
    for path in (root / "unwrapped_uv_1024").rglob("*.png"):
        larger(path)


def resize_headset(root):
    for folder in ("headset", "headset_mask"):
        for path in (root / "lipflow" / folder).rglob("*.png"):
            larger(path)


def fewer_landmarks(root):
    (root / "lipflow" / "landmarks.json").write_text('{"vertices": [5, 6, 7]}')


def drop_a_camera(root):
    for segment in (root / "images").iterdir():
        (segment / "dome-02").rename(root / f"away-{segment.name}")


CHANGES = {
    "topology": (retopologise, "topology.triangles", (11957, 3)),
    "size of pictures": (resize_pictures, "dome.images", (3, 3, 80, 64)),
    "size of textures": (resize_textures, "face.texture", (3, 64, 64)),
    "size of headset pictures": (resize_headset, "headset.images", (3, 1, 48, 64)),
    "landmarks": (fewer_landmarks, "keypoints.points", (3, 2)),
    "cameras": (drop_a_camera, "dome.images", (2, 3, 40, 32)),
}


@pytest.mark.parametrize("packed", [False, True], ids=["read", "packed"])
@pytest.mark.parametrize("name", CHANGES)
def test_the_same_process_sees_it(name, packed, damaged, read, load):
    change, planned, shape = CHANGES[name]
    before = read(damaged)
    if packed:
        before.pack(style="none")
    else:
        before.split("train")
    change(damaged)
    after = read(damaged)
    assert before.planned.outputs[planned] != shape
    assert after.planned.outputs[planned] == shape
    assert not isinstance(after.split("train"), PackedSplit)
    frame = load(after.split("train"), [0])
    owner, tensor = planned.split(".")
    if owner != "topology":
        assert getattr(frame[owner], tensor).shape[1:] == shape
    assert len(after.template().topology.triangles) == after.planned.outputs["topology.triangles"][0]


def test_an_unchanged_capture_is_not_surveyed_again(written, read):
    assert read(written).survey is read(written).survey
