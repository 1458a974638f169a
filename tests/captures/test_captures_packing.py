"""The packed cache: the same frames, found again, never stale, resumable."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from lipflow_kit.packing import PackedSplit
from lipflow_kit.store import Store, Words

from lipflow_core.errors import CaptureError, StorageError
from lipflow_core.interfaces import FrameRequest

EVERYTHING = ("face", "dome", "frontal", "headset", "keypoints", "truth")


def tensors(frame):
    found = {}
    for name, record in frame.observations.items():
        record.apply(lambda tensor, name=name: found.setdefault(f"{name} {len(found)}", tensor))
    return found


@pytest.mark.parametrize("headset", ["recorded", "virtual"])
def test_packed_frames_are_the_frames_read(headset, written, read, load):
    options = {"headset": {"source": headset, "size": (24, 32)}, "image": (20, 16)}
    names = EVERYTHING if headset == "recorded" else (*EVERYTHING, "sampled")
    unpacked = read(written, **options)
    before = {name: load(unpacked.split(name), observations=names) for name in ("train", "held-out")}
    read(written, **options).pack(style="none")
    again = read(written, **options)
    for name, frame in before.items():
        split = again.split(name)
        assert isinstance(split, PackedSplit)
        after = load(split, observations=names)
        assert after.segments == frame.segments and torch.equal(after.numbers, frame.numbers)
        one, other = tensors(frame), tensors(after)
        assert one.keys() == other.keys()
        for key in one:
            assert torch.equal(one[key], other[key]), key
    assert again.identity == unpacked.identity


def test_packed_frames_come_as_asked(written, read, load):
    split = read(written).pack(style="none")["train"]
    every = load(split)
    asked = FrameRequest(np.array([3, 1]), ("dome", "face"), np.array([[2, 0], [1, 1]]))
    some = split.load(asked)
    assert torch.equal(some["dome"].images[0], every["dome"].images[3, [2, 0]])
    assert torch.equal(some["dome"].camera.extrinsics[1], every["dome"].camera.extrinsics[1, [1, 1]])
    assert torch.equal(some["face"].vertices, every["face"].vertices[[3, 1]])
    with pytest.raises(CaptureError, match="numbered 0 to 3; the request names 4"):
        split.load(FrameRequest(np.array([4]), ("face",)))
    with pytest.raises(CaptureError, match="no observation 'audio'"):
        split.load(FrameRequest(np.array([0]), ("audio",)))


def test_skipped_frames_stay_counted(damaged, read):
    (damaged / "tracked_mesh" / "EXP_free_face_0000" / "000000.bin").unlink()
    read(damaged).pack(style="none")
    split = read(damaged).split("held-out")
    assert isinstance(split, PackedSplit) and split.skipped == {"no vertices": 1}


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "tracked_mesh" / "EXP_ROM_0001" / "000001.bin").unlink(),
        lambda root: (root / "vert_var.txt").write_text("3.5\n"),
        lambda root: (root / "lipflow" / "landmarks.json").write_text('{"vertices": [1, 2, 3]}'),
    ],
    ids=["a file went", "a statistic", "the landmarks"],
)
def test_a_capture_that_changed_is_not_read_from_its_old_pack(change, damaged, read):
    before = read(damaged)
    before.pack(style="none")
    change(damaged)
    after = read(damaged)
    assert not isinstance(after.split("train"), PackedSplit)
    assert after.identity != before.identity


def test_other_options_have_other_packs(written, read):
    read(written).pack(style="none")
    other = read(written, image=(20, 16))
    assert not isinstance(other.split("train"), PackedSplit)
    assert other.identity != read(written).identity
    assert not isinstance(read(written, colour={"gamma": 2.2}).split("train"), PackedSplit)


def test_an_interrupted_packing_is_taken_up(written, read, monkeypatch):
    capture = read(written)
    monkeypatch.setattr("lipflow_kit.packing.CHUNK_BYTES", 1)
    writes = []

    def write_two(store, chunk, recorded, plain=Store.write):
        if len(writes) == 2:
            raise KeyboardInterrupt
        writes.append(chunk)
        plain(store, chunk, recorded)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", write_two)
        with pytest.raises(KeyboardInterrupt):
            capture.pack(workers=1, style="none")
    assert not isinstance(read(written).split("train"), PackedSplit)
    loaded = []

    def count(store, chunk, recorded, plain=Store.write):
        loaded.append(chunk)
        plain(store, chunk, recorded)

    monkeypatch.setattr(Store, "write", count)
    packed = read(written).pack(workers=1, style="none")
    assert len(packed["train"]) == 4 and len(loaded) == 6


def test_threads_may_load_at_once(written, read, load):
    for capture in (read(written), read(written, headset={"source": "virtual", "size": (24, 32)})):
        split = capture.split("train")
        expected, got = load(split), {}

        def take(index, split=split, got=got):
            got[index] = load(split, [index])

        threads = [threading.Thread(target=take, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for index, frame in got.items():
            for key, tensor in tensors(frame).items():
                assert torch.equal(tensor[0], tensors(expected)[key][index]), key


def test_a_damaged_pack_is_named_with_its_cure(written, read):
    capture = read(written)
    capture.pack(style="none")
    (capture.folder / "train" / "dome.images.npy").write_bytes(b"not an array")
    with pytest.raises(CaptureError, match=r"packed capture is damaged: .*dome\.images\.npy") as error:
        read(written).split("train")
    assert "pack the capture again" in str(error.value)


def test_a_store_too_large_for_the_disk_is_refused_before_anything_is_written(tmp_path):
    store = Store(tmp_path / "store", {"pictures": ((1 << 20, 1 << 20), "|u1")}, 1 << 10, 1, Words())
    with pytest.raises(StorageError, match="needs 1125899"):
        store.prepare()
    assert not list((tmp_path / "store").glob("*.npy"))
