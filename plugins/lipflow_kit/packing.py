"""The packed cache of any capture: what a split loads, kept as memory-mapped arrays.

Pictures, masks and textures are kept as bytes, everything else as it is. A folder holds one store for each split
(`lipflow_kit.store`); its manifest has the segments, numbers and cameras too, so that opening it reads
nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import FrameRequest, Split
from lipflow_core.progress import Style, progress
from lipflow_core.records import Camera, FaceState, Frame, Keypoints, Record, Views
from lipflow_core.storage import check_folder
from lipflow_kit.store import Store, Words, read_manifest

FORMAT = 1
CHUNK_BYTES = 1 << 26
_BYTES = ("images", "mask", "texture")
_KINDS: Mapping[str, type[Record]] = {"face": FaceState, "views": Views, "keypoints": Keypoints}


@functools.cache
def named_record(name: str, tensors: tuple[str, ...]) -> type[Record]:
    """A class of records that hold tensors by name: an observation that only this capture has, such as ground truth."""
    return make_dataclass(
        name.title().replace("-", "").replace("_", ""),
        [(tensor, Tensor) for tensor in tensors],
        bases=(Record,),
        frozen=True,
    )


class PackedSplit(Split):
    """Frames of a split, read from its packed cache.

    Args:
        folder: Of its store.
        manifest: What the store says of itself.

    Raises:
        CaptureError: If an array is missing or not what it should be.
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
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise CaptureError(f"{folder} holds no packed capture: {error}", "Delete it and pack again.") from error

    @property
    def observations(self) -> tuple[str, ...]:
        """Names of what can be asked for."""
        frontal = ("frontal",) if self.frontal is not None and "frontal" not in self._records else ()
        return (*self._records, *frontal)

    def load(self, request: FrameRequest) -> Frame:
        frames = np.asarray(request.indices)
        check_indices(frames, len(self))
        return Frame(
            segments=tuple(self.segments[index] for index in frames.tolist()),
            numbers=torch.from_numpy(self.numbers[frames]),
            observations={name: self._observe(name, frames, request.cameras) for name in request.observations},
        )

    def _observe(self, name: str, frames: np.ndarray, cameras: np.ndarray | None) -> Record:
        index: Any = frames
        stored = name
        if name == "dome":
            if cameras is None:
                raise ValueError("the observation 'dome' needs `cameras` in the FrameRequest")
            index = (frames[:, None], np.asarray(cameras))
        elif name == "frontal" and name not in self._records and self.frontal is not None:
            index, stored = (frames[:, None], np.full((len(frames), 1), self.frontal)), "dome"
        if stored not in self._records:
            raise CaptureError(f"the capture has no observation '{name}'", f"It has {', '.join(self.observations)}.")
        about = self._records[stored]
        values = {tensor: self._read(f"{stored}.{tensor}", index) for tensor in about["tensors"]}
        if "camera.intrinsics" in values:
            camera = Camera(values.pop("camera.intrinsics"), values.pop("camera.extrinsics"), *about["size"])
            values["camera"] = camera
        kind = _KINDS.get(about["kind"]) or named_record(stored, tuple(values))
        return kind(**values)

    def _read(self, name: str, index: Any) -> Tensor:
        values = torch.from_numpy(np.ascontiguousarray(self.arrays[name][index]))
        return values.to(torch.float32).div_(255) if values.dtype == torch.uint8 else values


def check_indices(frames: np.ndarray, count: int) -> None:
    """Raise a CaptureError unless all frames are there."""
    if frames.size and (frames.min() < 0 or frames.max() >= count):
        wrong = frames.min() if frames.min() < 0 else frames.max()
        raise CaptureError(f"frames are numbered 0 to {count - 1}; asked for {wrong}")


def open_pack(folder: Path, about: Mapping[str, Any]) -> PackedSplit | None:
    """The packed split in a folder, if there is one and it is of this content.

    Args:
        folder: Of its store.
        about: Facts that its manifest must agree with.
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
    """Pack a split, taking up what an interrupted run left; processes that pack the same one wait for the first.

    Args:
        split: What to pack.
        folder: Where; replaced if it holds something else.
        observations: What to pack of each frame; "frontal" may be left out where it is a camera of the dome.
        about: Facts to write into the manifest, by which `open_pack` knows it again.
        frontal: Which dome camera is the frontal one.
        skipped: How many frames the split lacks, by reason.
        workers: Threads that load.
        label: For the progress.
        style: Of the progress.

    Raises:
        lipflow_core.errors.StorageError: If it can't be written.
        lipflow_core.errors.CaptureError: If a frame can't be loaded.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        if (done := open_pack(folder, about)) is not None:
            return done
        names = sorted(set(split.segments), key=list(split.segments).index)
        place = {name: index for index, name in enumerate(names)}
        request = functools.partial(_request, observations=tuple(observations), cameras=len(split.cameras))
        first = split.load(request(np.arange(1)))
        arrays = {f"{name}.{key}": value for name, record in first.observations.items() for key, value in flat(record)}
        layout = {name: (tuple(value.shape[1:]), _dtype(name, value)) for name, value in arrays.items()}
        size = sum(value.numel() * np.dtype(layout[name][1]).itemsize for name, value in arrays.items())
        store = Store(folder, layout, len(split), max(1, min(32, CHUNK_BYTES // max(1, size))))
        _start_anew_unless_same(store, about)
        store.prepare()
        missing = store.missing()

        def fill(chunk: int) -> int:
            frame = split.load(request(store.frames_of(chunk)))
            packed = {f"{name}.{key}": value for name, rec in frame.observations.items() for key, value in flat(rec)}
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


def flat(record: Record) -> list[tuple[str, Tensor]]:
    """Tensors of a record by name, those of its camera as "camera.…"."""
    found = []
    for item in fields(record):
        value = getattr(record, item.name)
        if isinstance(value, Tensor):
            found.append((item.name, value))
        elif isinstance(value, Camera):
            found += [(f"{item.name}.{key}", tensor) for key, tensor in flat(value)]
    return found


def _request(indices: np.ndarray, observations: tuple[str, ...], cameras: int) -> FrameRequest:
    return FrameRequest(indices, observations, np.tile(np.arange(cameras), (len(indices), 1)))


def _dtype(name: str, value: Tensor) -> str:
    return "|u1" if name.rsplit(".", 1)[-1] in _BYTES else value.numpy().dtype.str


def _packed(value: Tensor, dtype: str) -> np.ndarray:
    return (value * 255).round_().to(torch.uint8).numpy() if dtype == "|u1" else value.numpy()


def _describe(record: Record) -> dict[str, Any]:
    kind = next((name for name, kind in _KINDS.items() if type(record) is kind), "named")
    camera = getattr(record, "camera", None)
    size = [] if camera is None else [camera.height, camera.width]
    return {"kind": kind, "tensors": [name for name, _ in flat(record)], "size": size}


def _start_anew_unless_same(store: Store, about: Mapping[str, Any]) -> None:
    """Forget what an interrupted run left of another content."""
    import json
    import shutil

    note = store.folder / "about.json"
    text = json.dumps({"format": FORMAT, "chunk": store.chunk, **about}, sort_keys=True)
    if not note.is_file() or note.read_text(encoding="utf-8") != text:
        shutil.rmtree(store.folder)
        store.folder.mkdir()
        note.write_text(text, encoding="utf-8")
    (store.folder / "manifest.json").unlink(missing_ok=True)
