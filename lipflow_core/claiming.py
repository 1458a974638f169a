"""Claims folders of results, so that one process at a time writes to each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lipflow_core.errors import StorageError
from lipflow_core.storage import AnyPath, is_temporary, storage_error

CLAIM = ".lock"
"""Name of the file that `claimed` locks in a folder."""


@contextlib.contextmanager
def claimed(folder: AnyPath, doing: str) -> Iterator[None]:
    """Keep other processes from writing to a folder of results. On exit an empty folder is removed.

    Args:
        folder: Folder to claim; it is created if it does not exist.
        doing: Work that is done there, such as "fitting", for the message that other processes show.

    Raises:
        lipflow_core.errors.StorageError: If another process has claimed the folder, or it can't be made.
    """
    from filelock import FileLock, Timeout

    path = Path(folder)
    lock = FileLock(path / CLAIM)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StorageError(
            f"{path}: another process is {doing} there", "Wait until it is done, or choose another --out."
        ) from error
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        yield
    finally:
        if os.name == "nt":  # where files that are open can't be removed
            lock.release()
            _unlink(path / CLAIM)
        else:  # before it is released: whoever waits for it is refused a file that is gone (filelock from 3.20.4)
            _unlink(path / CLAIM)
            lock.release()
        with contextlib.suppress(OSError):
            path.rmdir()  # fails where anything is in it


def is_leftover(path: Path) -> bool:
    """Tell whether a file or folder is a remnant of a process that was killed before it wrote any result."""
    return path.name == CLAIM or is_temporary(path)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
