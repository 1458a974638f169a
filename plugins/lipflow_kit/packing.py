"""The packed cache of any capture: the tensors of a split's frames as memory-mapped arrays.

Pictures, masks and textures are kept as bytes, everything else as it is. A folder holds one store for each split
(`lipflow_kit.store`). Its manifest has the segments, numbers and cameras too, so that opening it reads nothing else.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from torch import Tensor

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import FrameRequest, Split
from lipflow_core.progress import Style, progress
from lipflow_core.records import Camera, FaceState, Keypoints, Record, Views
from lipflow_core.storage import check_folder, make_folder
from lipflow_kit.eight_bit import from_bytes, to_bytes
from lipflow_kit.observations import ROLES
from lipflow_kit.observed_split import ObservedSplit
from lipflow_kit.store import Store, Words, read_manifest

FORMAT = 1
CHUNK_BYTES = 1 << 26
_BYTES = ("images", "mask", "texture")
_KINDS: Mapping[str, type[Record]] = {"face": FaceState, "views": Views, "keypoints": Keypoints}


@functools.cache
def named_record(name: str, tensors: tuple[str, ...]) -> type[Record]:
    """Make a class of records for an observation that only one capture has, such as ground truth.

    Args:
        name: The observation's name.
        tensors: Names of its fields, each of which holds a tensor.
    """
    return make_dataclass(
        name.title().replace("-", "").replace("_", ""),
        [(tensor, Tensor) for tensor in tensors],
        bases=(Record,),
        frozen=True,
    )


class PackedSplit(ObservedSplit):
    """Reads the frames of a split from its packed cache.

    Args:
        folder: Folder of the store.
        manifest: Content of the store's manifest.

    Raises:
        CaptureError: If an array is missing or is not what the manifest says.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]):
        self.folder = folder
        try:
            self.arrays = Store.from_manifest(folder, manifest, Words()).open()
            self.segments = [manifest["segments"][index] for index in manifest["segment"]]
            self.numbers = np.array(manifest["numbers"], np.int64)
            self.cameras: Sequence[str] = manifest["cameras"]
            self.frontal: int | None = manifest["frontal"]
            self.skipped: Mapping[str, int] = manifest["skipped"]
            self.identity: str | None = manifest.get("identity")
            self._records: Mapping[str, Mapping[str, Any]] = manifest["records"]
        except (KeyError, TypeError, IndexError, ValueError, OverflowError) as error:
            raise CaptureError(
                f"{folder} does not hold a packed capture: its manifest is damaged", "Delete it and pack again."
            ) from error

    @property
    def observations(self) -> tuple[str, ...]:
        among_views = self.frontal is not None and ROLES.scored_view not in self._records
        return (*self._records, ROLES.scored_view) if among_views else tuple(self._records)

    def observe(self, name: str, frames: np.ndarray, cameras: np.ndarray | None) -> Record:
        index: Any = frames
        if name not in self._records:  # the frontal view, packed as one of the dome's cameras
            name, cameras = ROLES.training_views, np.full((len(frames), 1), self.frontal)
        if name == ROLES.training_views:
            index = (frames[:, None], cameras)
        about = self._records[name]
        values = {tensor: from_bytes(self.arrays[f"{name}.{tensor}"][index]) for tensor in about["tensors"]}
        if "camera.intrinsics" in values:
            camera = Camera(values.pop("camera.intrinsics"), values.pop("camera.extrinsics"), *about["size"])
            values["camera"] = camera
        kind = _KINDS.get(about["kind"]) or named_record(name, tuple(values))
        return kind(**values)


def open_pack(folder: Path, about: Mapping[str, Any]) -> PackedSplit | None:
    """Open the packed split in a folder.

    Args:
        folder: The folder of its store.
        about: Facts that its manifest must agree with.

    Returns:
        The split; None if there is none, or none of this content.
    """
    try:
        manifest = read_manifest(folder)
    except (OSError, ValueError):
        return None
    if any(manifest.get(name) != value for name, value in {"format": FORMAT, **about}.items()):
        return None
    return PackedSplit(folder, manifest)


def pack(
    split: Split,
    folder: Path,
    observations: Sequence[str],
    about: Mapping[str, Any],
    *,
    frontal: int | None = None,
    skipped: Mapping[str, int] | None = None,
    workers: int = 2,
    label: str = "pack",
    style: Style = "auto",
) -> PackedSplit:
    """Pack a split, or go on where an interrupted run stopped. Processes that pack the same split wait for the first.

    Args:
        split: The split to pack.
        folder: The folder to write; replaced if it holds another content.
        observations: Observations to pack; the frontal view may be left out where it is one of the dome's cameras.
        about: Facts to write into the manifest, by which `open_pack` recognises the content.
        frontal: Position of the frontal camera among the dome's cameras.
        skipped: Reason → number of frames that the split had to leave out.
        workers: Number of threads that load.
        label: Text before the progress bar.
        style: Style of the progress bar.

    Raises:
        lipflow_core.errors.StorageError: If it can't be written.
        lipflow_core.errors.CaptureError: If a frame can't be loaded.
    """
    check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    make_folder(folder, within=folder.parent.parent)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        if (done := open_pack(folder, about)) is not None:
            return done
        names = sorted(set(split.segments), key=list(split.segments).index)
        place = {name: index for index, name in enumerate(names)}
        request = functools.partial(_request, observations=tuple(observations), cameras=len(split.cameras))
        first = split.load(request(np.arange(1)))
        arrays = {
            f"{name}.{key}": value for name, record in first.observations.items() for key, value in record.tensors()
        }
        layout = {name: (tuple(value.shape[1:]), _dtype(name, value)) for name, value in arrays.items()}
        size = sum(value.numel() * np.dtype(layout[name][1]).itemsize for name, value in arrays.items())
        store = Store(folder, layout, len(split), max(1, min(32, CHUNK_BYTES // max(1, size))))
        _start_anew_unless_same(store, about)
        store.prepare()
        missing = store.missing()

        def fill(chunk: int) -> int:
            frame = split.load(request(store.frames_of(chunk)))
            packed = {
                f"{name}.{key}": value for name, rec in frame.observations.items() for key, value in rec.tensors()
            }
            store.write(chunk, {name: _packed(value, layout[name][1]) for name, value in packed.items()})
            return len(frame)

        started = sum(len(store.frames_of(chunk)) for chunk in range(store.chunks) if chunk not in set(missing))
        with (
            progress(len(split), label, "frame", style=style, initial=started) as bar,
            ThreadPoolExecutor(max(1, workers), thread_name_prefix="lipflow-pack") as pool,
        ):
            try:
                for done_frames in pool.map(fill, missing):
                    bar.advance(done_frames)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        store.finish(
            {
                "format": FORMAT,
                **about,
                "segments": names,
                "segment": [place[name] for name in split.segments],
                "numbers": np.asarray(split.numbers).tolist(),
                "cameras": list(split.cameras),
                "frontal": frontal,
                "skipped": dict(skipped or {}),
                "records": {name: _describe(record) for name, record in first.observations.items()},
            }
        )
    return PackedSplit(folder, read_manifest(folder))


def _request(indices: np.ndarray, observations: tuple[str, ...], cameras: int) -> FrameRequest:
    return FrameRequest(indices, observations, np.tile(np.arange(cameras), (len(indices), 1)))


def _dtype(name: str, value: Tensor) -> str:
    return "|u1" if name.rsplit(".", 1)[-1] in _BYTES else value.numpy().dtype.str


def _packed(value: Tensor, dtype: str) -> np.ndarray:
    return to_bytes(value.numpy()) if dtype == "|u1" else value.numpy()


def _describe(record: Record) -> dict[str, Any]:
    kind = next((name for name, kind in _KINDS.items() if type(record) is kind), "named")
    camera = getattr(record, "camera", None)
    size = [] if camera is None else [camera.height, camera.width]
    return {"kind": kind, "tensors": [name for name, _ in record.tensors()], "size": size}


def _start_anew_unless_same(store: Store, about: Mapping[str, Any]) -> None:
    """Delete what an interrupted run left of another content."""
    note = store.folder / "about.json"
    text = json.dumps({"format": FORMAT, "chunk": store.chunk, **about}, sort_keys=True)
    if not note.is_file() or note.read_bytes() != text.encode():
        shutil.rmtree(store.folder)
        store.folder.mkdir()
        note.write_text(text, encoding="utf-8")
    (store.folder / "manifest.json").unlink(missing_ok=True)
