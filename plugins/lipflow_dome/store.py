"""The packed cache: one memory-mapped array per recorded thing, filled chunk by chunk, complete or resumable."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from lipflow_core.errors import CaptureError, StorageError

Layout = Mapping[str, tuple[tuple[int, ...], str]]
"""Name → shape of one frame, dtype."""

MANIFEST = "manifest.json"


class Store:
    """Arrays of N frames in a folder.

    Each is a .npy file, so that anybody can read it. While the store is being filled, `done/` holds an empty file for
    each finished chunk; `manifest.json` is written last and means that all of it is there.

    Args:
        folder: Where it lies.
        layout: What is recorded of each frame.
        frames: N.
        chunk: Frames in a chunk.
    """

    def __init__(self, folder: Path, layout: Layout, frames: int, chunk: int):
        self.folder = folder
        self.layout = layout
        self.frames = frames
        self.chunk = chunk

    @property
    def complete(self) -> bool:
        return (self.folder / MANIFEST).is_file()

    @property
    def chunks(self) -> int:
        return math.ceil(self.frames / self.chunk)

    def frames_of(self, chunk: int) -> np.ndarray:
        """Frames of a chunk."""
        return np.arange(chunk * self.chunk, min((chunk + 1) * self.chunk, self.frames))

    def missing(self) -> list[int]:
        """Chunks that are still to be written."""
        return [chunk for chunk in range(self.chunks) if not self._mark(chunk).is_file()]

    def prepare(self) -> None:
        """Make the folder and its files at full length, keeping what an interrupted run left.

        Raises:
            StorageError: If it can't be written.
        """
        with self._telling_storage():
            (self.folder / "done").mkdir(parents=True, exist_ok=True)
            needed = 0
            for name, (shape, dtype) in self.layout.items():
                path = self._path(name)
                if path.is_file() and self._fits(name):
                    continue
                for mark in (self.folder / "done").iterdir():
                    mark.unlink()
                needed += self.frames * math.prod(shape) * np.dtype(dtype).itemsize
                temporary = path.with_suffix(".new")
                np.lib.format.open_memmap(temporary, "w+", np.dtype(dtype), (self.frames, *shape)).flush()
                os.replace(temporary, path)
            free = shutil.disk_usage(self.folder).free
            if needed > free:
                raise StorageError(
                    f"the simulated capture needs {needed / 1e9:.2f} GB in {self.folder}, where {free / 1e9:.2f} GB "
                    "are free",
                    "Free some space, or set the capture's option `cache` to a folder on another disk.",
                )

    def write(self, chunk: int, recorded: Mapping[str, np.ndarray]) -> None:
        """Write a chunk and mark it as done. Raises StorageError if the disk is full."""
        first = chunk * self.chunk
        with self._telling_storage():
            for name, (shape, dtype) in self.layout.items():
                values = np.ascontiguousarray(recorded[name], dtype)
                # plain writes report a full disk; writing through a memory map would kill the process
                with self._path(name).open("r+b") as file:
                    file.seek(self._header(name) + first * math.prod(shape) * np.dtype(dtype).itemsize)
                    file.write(values.tobytes())
                    file.flush()
                    os.fsync(file.fileno())
            self._mark(chunk).touch()

    def finish(self) -> None:
        """Declare the store complete."""
        manifest = {"frames": self.frames, "arrays": {name: [list(s), d] for name, (s, d) in self.layout.items()}}
        with self._telling_storage():
            temporary = self.folder / (MANIFEST + ".new")
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(manifest, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.folder / MANIFEST)
            shutil.rmtree(self.folder / "done", ignore_errors=True)

    def open(self) -> dict[str, np.ndarray]:
        """Memory-map every array. Raises CaptureError if one is missing or not what it should be."""
        if self.frames == 0:
            raise CaptureError(f"the capture in {self.folder} has no frames", "Raise the number of its sequences.")
        try:
            manifest = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            stored = (manifest["frames"], {name: (tuple(s), d) for name, (s, d) in manifest["arrays"].items()})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(self.folder / MANIFEST, str(error)) from error
        if stored != (self.frames, dict(self.layout)):
            raise self._damaged(self.folder / MANIFEST, "it describes another capture")
        return {name: self._open(name) for name in self.layout}

    def _open(self, name: str) -> np.ndarray:
        shape, dtype = self.layout[name]
        try:
            array = np.load(self._path(name), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(self._path(name), str(error)) from error
        if array.shape != (self.frames, *shape) or array.dtype != np.dtype(dtype):
            raise self._damaged(self._path(name), f"it holds {array.dtype} {array.shape}")
        return array

    def _fits(self, name: str) -> bool:
        try:
            self._open(name)
        except CaptureError:
            return False
        return True

    def _header(self, name: str) -> int:
        with self._path(name).open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            return file.tell()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _mark(self, chunk: int) -> Path:
        return self.folder / "done" / f"{chunk:06d}"

    def _damaged(self, path: Path, reason: str) -> CaptureError:
        return CaptureError(
            f"the simulated capture is damaged: {path}: {reason}",
            f"Delete the folder {self.folder} and run again: it is simulated anew, with the same frames.",
        )

    def _telling_storage(self) -> _StorageTold:
        return _StorageTold(self.folder)


class _StorageTold:
    """Turns the operating system's errors into StorageError that names the folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise StorageError(
                f"could not write the simulated capture to {self.folder}: {error.strerror or error}",
                "Make the folder writable, free some space, or set the capture's option `cache` to another folder.",
            ) from error


def batches(chunks: list[int], workers: int) -> Iterator[list[int]]:
    """Spread chunks over workers, each getting every `workers`-th."""
    for worker in range(workers):
        share = chunks[worker::workers]
        if share:
            yield share
