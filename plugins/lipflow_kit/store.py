"""Memory-mapped arrays over frames: filled chunk by chunk, resumable, and complete or not there."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lipflow_core.errors import CaptureError, StorageError
from lipflow_core.storage import check_regular, make_folder, read_file, remove_temporaries, write_atomically

Layout = Mapping[str, tuple[tuple[int, ...], str]]
"""Name → shape of one frame, dtype."""

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Words:
    """Gives the words in which messages speak of a store.

    Args:
        what: Name of the content.
        again: Advice if the store is damaged.
        elsewhere: Advice if the folder can't be written or is too small.
    """

    what: str = "packed capture"
    again: str = "pack the capture again"
    elsewhere: str = "set the capture's option `cache` to a folder on another disk"


@dataclass(frozen=True)
class Store:
    """Stores arrays of N frames in a folder.

    Each array is a .npy file, which many programs can read. While the store is being filled, `done/` holds an empty
    file for each finished chunk. `manifest.json` is written last: the store is complete if it exists.

    Args:
        folder: Folder of the store.
        layout: Shape and dtype of each array for one frame.
        frames: Number of frames, N.
        chunk: Number of frames in a chunk.
        words: Words for messages.
    """

    folder: Path
    layout: Layout
    frames: int
    chunk: int
    words: Words = field(default_factory=Words)

    @property
    def complete(self) -> bool:
        return (self.folder / MANIFEST).is_file()

    @property
    def chunks(self) -> int:
        return math.ceil(self.frames / self.chunk)

    def frames_of(self, chunk: int) -> np.ndarray:
        """List the frames of a chunk."""
        return np.arange(chunk * self.chunk, min((chunk + 1) * self.chunk, self.frames))

    def missing(self) -> list[int]:
        """List the chunks that are still to be written."""
        return [chunk for chunk in range(self.chunks) if not self._mark(chunk).is_file()]

    def prepare(self) -> None:
        """Make the folder and its files at full length, keeping what an interrupted run left.

        Raises:
            StorageError: If it can't be written.
        """
        with self._telling_storage():
            self.folder.mkdir(parents=True, exist_ok=True)
            make_folder(self.folder / "done", within=self.folder)
            remove_temporaries(self.folder)
            fresh = [name for name in self.layout if not self._fits(name)]
            free = shutil.disk_usage(self.folder).free
        needed = sum(self.frames * self._bytes(name) for name in fresh)
        if needed > free:
            raise StorageError(
                f"the {self.words.what} needs {needed / 1e9:.2f} GB in {self.folder}, where {free / 1e9:.2f} are free",
                f"Free some space, or {self.words.elsewhere}.",
            )
        with self._telling_storage():
            for name in fresh:
                for mark in (self.folder / "done").iterdir():
                    mark.unlink()
                write_atomically(self._path(name), functools.partial(self._reserve, name), within=self.folder)

    def _reserve(self, name: str, file: BinaryIO) -> None:
        """Write an array's header and reserve room for its values."""
        shape, dtype = self.layout[name]
        header = {"descr": dtype, "fortran_order": False, "shape": (self.frames, *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + self.frames * self._bytes(name))

    def write(self, chunk: int, recorded: Mapping[str, np.ndarray]) -> None:
        """Write a chunk and mark it as done. Raises StorageError if the disk is full."""
        first = chunk * self.chunk
        with self._telling_storage():
            for name, (_, dtype) in self.layout.items():
                values = np.ascontiguousarray(recorded[name], dtype)
                # Plain writes report a full disk; writing through a memory map would kill the process.
                with self._path(name).open("r+b") as file:
                    file.seek(self._header(name) + first * self._bytes(name))
                    file.write(values.tobytes())
                    file.flush()
                    os.fsync(file.fileno())
            self._mark(chunk).touch()

    def finish(self, about: Mapping[str, Any] | None = None) -> None:
        """Declare the store complete, with further facts about it."""
        arrays = {name: [list(shape), dtype] for name, (shape, dtype) in self.layout.items()}
        manifest = {"frames": self.frames, "arrays": arrays, **(about or {})}
        with self._telling_storage():
            write_atomically(self.folder / MANIFEST, json.dumps(manifest), within=self.folder)
            remove_marks(self.folder)

    def open(self) -> dict[str, np.ndarray]:
        """Memory-map every array. Raises CaptureError if one is missing or not what it should be."""
        if self.frames == 0:
            raise CaptureError(f"the capture in {self.folder} has no frames", "Raise the number of its sequences.")
        try:
            manifest = read_manifest(self.folder)
            stored = (manifest["frames"], {name: (tuple(s), d) for name, (s, d) in manifest["arrays"].items()})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(self.folder / MANIFEST, str(error)) from error
        if stored != (self.frames, dict(self.layout)):
            raise self._damaged(self.folder / MANIFEST, "it describes another capture")
        return {name: self._open(name) for name in self.layout}

    @classmethod
    def from_manifest(cls, folder: Path, manifest: Mapping[str, Any], words: Words) -> Store:
        """Make the store that a manifest describes. Raises KeyError, TypeError or ValueError if it describes none."""
        layout = {name: (tuple(shape), dtype) for name, (shape, dtype) in manifest["arrays"].items()}
        return cls(folder, layout, int(manifest["frames"]), 1, words)

    def _open(self, name: str) -> np.ndarray:
        shape, dtype = self.layout[name]
        try:
            check_regular(self._path(name))
            array = np.load(self._path(name), mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise self._damaged(self._path(name), error.strerror or "it can't be read") from error
        except (ValueError, EOFError) as error:  # numpy's text would advise to allow pickles
            raise self._damaged(self._path(name), "it is cut short, or no .npy file of plain numbers") from error
        if array.shape != (self.frames, *shape) or array.dtype != np.dtype(dtype):
            raise self._damaged(self._path(name), f"it holds {array.dtype} {array.shape}")
        return array

    def _fits(self, name: str) -> bool:
        """Whether an array's file can be written in place: a link would lead the write elsewhere."""
        try:
            self._open(name)
        except CaptureError:
            return False
        return not self._path(name).is_symlink()

    def _header(self, name: str) -> int:
        with self._path(name).open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            return file.tell()

    def _bytes(self, name: str) -> int:
        shape, dtype = self.layout[name]
        return math.prod(shape) * np.dtype(dtype).itemsize

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _mark(self, chunk: int) -> Path:
        return self.folder / "done" / f"{chunk:06d}"

    def _damaged(self, path: Path, reason: str) -> CaptureError:
        return CaptureError(
            f"the {self.words.what} is damaged: {path}: {reason}",
            f"Delete the folder {self.folder} and {self.words.again}.",
        )

    @contextlib.contextmanager
    def _telling_storage(self) -> Iterator[None]:
        try:
            yield
        except (OSError, StorageError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            reason = (cause.strerror or cause) if isinstance(cause, OSError) else error
            raise StorageError(
                f"could not write the {self.words.what} to {self.folder}: {reason}",
                f"Make the folder writable, free some space, or {self.words.elsewhere}.",
            ) from error


def remove_marks(folder: Path) -> None:
    """Remove the marks of finished chunks from a complete store, of which a killed process may have left some."""
    shutil.rmtree(folder / "done", ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a complete store. Raises OSError or ValueError if there is none."""
    try:
        manifest = json.loads(read_file(folder / MANIFEST))
    except RecursionError as error:
        raise ValueError("the manifest is nested too deeply") from error
    if not isinstance(manifest, dict):
        raise ValueError("the manifest holds no mapping")
    return manifest


def batches(chunks: list[int], workers: int) -> Iterator[list[int]]:
    """Spread chunks over workers, each getting every `workers`-th."""
    for worker in range(workers):
        share = chunks[worker::workers]
        if share:
            yield share
