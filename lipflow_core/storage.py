"""Writing files and folders whole or not at all.

Everything is written under a temporary name beside its place, flushed to the disk and renamed. Whatever goes wrong,
what stood there before stays, and nothing temporary remains, unless the process is killed: then `remove_temporaries`
takes away what it left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from lipflow_core.errors import StorageError


def write_atomically(path: str | os.PathLike[str], content: bytes | str | Callable[[BinaryIO], None]) -> None:
    """Write a file, or leave what was there.

    Args:
        path: Where; a link is followed. The folder must exist.
        content: What: bytes, text (written as UTF-8), or a function that writes to the open file it is given.

    Raises:
        lipflow_core.errors.StorageError: If it can't be written: no such folder, no permission, no space.
    """
    target = Path(os.path.realpath(path))
    temporary = _beside(target, "tmp")
    try:
        with open(temporary, "xb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _flush_folder(target.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        _remove(temporary)


def write_together(folder: str | os.PathLike[str], contents: Mapping[str, bytes]) -> None:
    """Write several files into a folder, the last one last, leaving other files in it alone.

    Each is whole on the disk before the first takes its place, so that want of space or permission changes nothing.
    Whether all belong together, should the machine stop between two renames, the last file must tell (by hashes).

    Args:
        folder: Where; made, as a whole, if it does not exist.
        contents: File name → content.

    Raises:
        lipflow_core.errors.StorageError: If they can't be written; whatever stood there still does.
    """
    target = Path(os.path.realpath(folder))
    if not target.exists():
        with written_folder(target) as fresh:
            for name, content in contents.items():
                (fresh / name).write_bytes(content)
        return
    staged = {target / name: _beside(target / name, "tmp") for name in contents}
    try:
        for (place, temporary), content in zip(staged.items(), contents.values(), strict=True):
            if place.is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{place.name} is a folder")
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for place, temporary in staged.items():
            os.replace(temporary, place)
        _flush_folder(target)
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        for temporary in staged.values():
            _remove(temporary)


@contextlib.contextmanager
def written_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a folder that takes its place, or replaces the one there, once it is complete.

    Args:
        path: Where; folders above it are made.

    Yields:
        An empty temporary folder to write plain files into.

    Raises:
        lipflow_core.errors.StorageError: If it can't be written; whatever stood there still does.

    Example:
        >>> with written_folder("model") as folder:
        ...     (folder / "spec.yaml").write_text("name: x")
    """
    target = Path(os.path.realpath(path))
    temporary, replaced = _beside(target, "tmp"), _beside(target, "old")
    try:
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        for file in sorted(temporary.rglob("*")):
            _flush_folder(file) if file.is_dir() else _flush_file(file)
        _flush_folder(temporary)
        if target.exists():
            os.rename(target, replaced)
        try:
            os.rename(temporary, target)
        except OSError:
            if replaced.exists():
                os.rename(replaced, target)
            raise
        _flush_folder(target.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if target.exists():
            shutil.rmtree(replaced, ignore_errors=True)


def remove_temporaries(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files that killed processes left in a folder; only where no other process may be writing."""
    for path in Path(folder).glob(".*.tmp"):
        if is_temporary(path) and path.is_file():
            _remove(path)


def is_temporary(path: Path) -> bool:
    """Whether a file or folder has the name of one that is still being written."""
    return re.fullmatch(r"\..+\.[0-9a-f]{8}\.tmp", path.name) is not None


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raise a StorageError if a folder can't be made or written there: a file in the way, no permission."""
    place = Path(os.path.realpath(path))
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise storage_error(path, NotADirectoryError(errno.ENOTDIR, f"{place} is a file, not a folder"))
    if not os.access(place, os.W_OK | os.X_OK):
        raise storage_error(path, PermissionError(errno.EACCES, f"{place} is not yours to write to"))


def storage_error(path: str | os.PathLike[str], error: OSError) -> StorageError:
    """What to tell a user about an OSError met while writing `path`."""
    hints = {
        errno.ENOSPC: "The disk is full: make room, or write elsewhere.",
        errno.EDQUOT: "Your quota on this disk is used up: make room, or write elsewhere.",
        errno.EFBIG: "The file would be larger than this system allows: raise the limit, or write elsewhere.",
        errno.EROFS: "The disk is read-only: write elsewhere.",
        errno.EACCES: "You may not write there: change the folder's permissions, or write elsewhere.",
        errno.EPERM: "You may not write there: change the folder's permissions, or write elsewhere.",
        errno.ENOENT: "The folder does not exist: make it, or write elsewhere.",
        errno.EEXIST: "A file stands where a folder is needed: remove it, or write elsewhere.",
        errno.ENOTDIR: "A file stands where a folder is needed: remove it, or write elsewhere.",
    }
    reason = error.strerror or str(error)
    cure = hints.get(error.errno or 0, "Write elsewhere.")
    return StorageError(f"{os.fspath(path)}: can't be written: {reason}", cure)


def _beside(target: Path, ending: str) -> Path:
    # In the same folder, since only there is a rename atomic; hidden, so that no listing takes it for a result.
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.{ending}")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _flush_file(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    if os.name == "nt":  # folders can't be opened there, and renames need no flush
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems flush folders by themselves
            raise
    finally:
        os.close(descriptor)
