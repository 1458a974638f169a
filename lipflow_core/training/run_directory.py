"""Manages the folder of a run: its identity, metrics, checkpoints and result."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lipflow_core.claiming import claimed, is_leftover
from lipflow_core.errors import ModelError, StorageError
from lipflow_core.file_names import check_file_name
from lipflow_core.model_lock import RESULT, RUN
from lipflow_core.storage import (
    check_folder,
    make_folder,
    open_to_append,
    read_file,
    remove_temporaries,
    storage_error,
    write_atomically,
)
from lipflow_core.training.checkpoints import Checkpoints
from lipflow_core.training.state import TrainingSummary

METRICS = "metrics.jsonl"


class RunDirectory:
    """The folder of a run.

    Args:
        path: Path of the folder, which need not exist yet.

    Attributes:
        checkpoints: Checkpoints of the run.
    """

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoints")

    @property
    def started(self) -> bool:
        """Whether a run was started in the folder."""
        return (self.path / RUN).exists()

    def check_free(self, *, resume: bool) -> None:
        """Check that a run may start or resume in the folder.

        Raises:
            lipflow_core.errors.StorageError: If it holds a run and `resume` is False, or other files, or can't be
                written.
        """
        check_file_name(self.path / RUN, StorageError)
        if self.started and not resume:
            raise StorageError(
                f"{self.path} already holds a run",
                "continue it with --resume (in Python resume=True), or choose another --out",
            )
        if not self.started and self.path.is_dir() and not all(map(is_leftover, self.path.iterdir())):
            raise StorageError(f"{self.path} is not empty and holds no run", "choose another --out")
        if not (self.path / RESULT).exists():
            check_folder(self.path)

    def claimed(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from training in this folder; see `lipflow_core.claiming.claimed`."""
        return claimed(self.path, "training")

    def open(self, identity: Mapping[str, Any]) -> None:
        """Start a run in the claimed folder, or check that the run in it is the same.

        Args:
            identity: Everything that the run's weights depend on, as JSON data.

        Raises:
            lipflow_core.errors.ModelError: If the folder holds a run of another identity, naming what differs.
            lipflow_core.errors.StorageError: If the folder can't be written.
        """
        if self.started:
            differences = _differences(self._identity(), json.loads(json.dumps(identity)))
            if differences:
                raise ModelError(
                    f"{self.path}: holds a run that was started with other settings: " + "; ".join(differences),
                    "resume it with the settings of its start, or start a new run in another folder with --out",
                )
        # First of all: whatever else is found here belongs to a run.
        if not self.started:
            write_atomically(self.path / RUN, _json(identity), within=self.path)
        make_folder(self.checkpoints.folder, within=self.path)
        for folder in (self.path, self.checkpoints.folder):
            remove_temporaries(folder)

    def forget(self) -> None:
        """Remove a run that failed before its first checkpoint, so that the next run can start."""
        if self.checkpoints.kept or (self.path / RESULT).exists():
            return
        shutil.rmtree(self.checkpoints.folder, ignore_errors=True)
        for name in (METRICS, RUN):
            with contextlib.suppress(OSError):
                (self.path / name).unlink(missing_ok=True)

    def _identity(self) -> Any:
        try:
            return json.loads(read_file(self.path / RUN))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(
                f"{self.path / RUN} can't be read: {error}", "train again in another folder with --out"
            ) from error

    def result(self) -> TrainingSummary | None:
        """Read what the finished run wrote; None if it is not finished.

        Raises:
            lipflow_core.errors.ResultError: If it is damaged.
        """
        path = self.path / RESULT
        hint = "Remove that file and train again with --resume: it is written anew."
        return TrainingSummary.read(path, hint) if path.exists() else None

    def reopen(self) -> None:
        """Mark a finished run as unfinished, so that it continues from its last checkpoint."""
        (self.path / RESULT).unlink()

    def finish(self, result: TrainingSummary) -> None:
        """Write the result: the run is done."""
        write_atomically(self.path / RESULT, result.json_text(), within=self.path)


class Metrics:
    """The log of a run: one JSON object a line, only appended to, and cut back to the checkpoint on resuming.

    Args:
        path: Path of metrics.jsonl.
        length: Number of bytes to keep of the present file.
    """

    def __init__(self, path: Path, length: int):
        self._file = open_to_append(path, within=path.parent)
        try:
            self._file.truncate(min(length, path.stat().st_size))
        except OSError as error:
            raise storage_error(path, error) from error
        self._path = path

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row and flush it to the operating system, so that other programs see it."""
        try:
            self._file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise storage_error(self._path, error) from error

    def sync(self) -> int:
        """Write all rows to the disk and return the file's length in bytes."""
        try:
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise storage_error(self._path, error) from error

    def close(self) -> None:
        """Write what is left and close the file."""
        try:
            self._file.close()
        except OSError as error:
            raise storage_error(self._path, error) from error


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    """List the differences of two JSON values, one sentence for each."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted(old.keys() | new.keys())
            for line in _differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line
            for place, (one, other) in enumerate(zip(old, new, strict=True))
            for line in _differences(one, other, f"{where}[{place}]")
        ]
    return [] if old == new else [f"{where} was {json.dumps(old)}, is {json.dumps(new)}"]
