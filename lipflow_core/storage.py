"""Writes files and folders completely or not at all.

Content is written under a temporary name in the same folder, flushed to the disk and renamed. If that fails, the
earlier content stays and the temporary file is removed. A process that is killed leaves temporary files, which
`remove_temporaries` removes.

A path that the user gave is used unchanged: links are followed, and pipes and terminals are written to. Within a folder
of results (argument `within`) no link is followed: such folders are passed on, and a link in one must not lead a write
out of the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from lipflow_core.errors import StorageError
from lipflow_core.file_names import check_file_name

_NAME_KEPT = 40
"""Characters of a file's name that its temporary name repeats: a name has at most 255 bytes, a character up to four."""

AnyPath = str | os.PathLike[str]
Content = bytes | str | Callable[[BinaryIO], None]
"""Content of a file: bytes, text (written as UTF-8), or a function that writes to the open file that it is given."""


def write_atomically(path: AnyPath, content: Content, *, within: AnyPath | None = None, durable: bool = True) -> None:
    """Write a file completely, or leave the earlier one unchanged.

    A pipe or character device is written to directly, since nothing can take its place.

    Args:
        path: File to write; its folder must exist.
        content: Content of the file.
        within: Folder of results that contains the file. No link below it is followed: a link in place of the file is
            replaced; a link in place of a folder is refused, as is anything else that is not a regular file.
        durable: Whether to wait until the content is on the disk.

    Raises:
        lipflow_core.errors.StorageError: If the file can't be written, for example without permission or disk space.
        BrokenPipeError: If the reader of a pipe has closed it.
    """
    check_file_name(path, StorageError)
    try:
        target = Path(os.path.realpath(path)) if within is None else _inside(path, within)
        if within is None and _takes_a_stream(path):
            with open(path, "wb") as file:
                _fill(file, content)
            return
        _refuse_all_but_files(target, links=within is None)
        with _staged(target) as temporary:
            _write(temporary, content, durable=durable)
            os.replace(temporary, target)
        if durable:
            _flush_folder(target.parent)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error


def write_together(folder: AnyPath, contents: Mapping[str, bytes]) -> None:
    """Write several files into a folder in the given order; other files in it are left alone.

    All files are on the disk under temporary names before the first is renamed, so that a full disk or missing
    permission changes nothing. If the machine stops between two renames, the last file must tell by hashes whether all
    belong together. Links in the folder are replaced, not followed.

    Args:
        folder: Folder to write to; it is created if it does not exist.
        contents: File name → content.

    Raises:
        lipflow_core.errors.StorageError: If they can't be written; then the earlier files are unchanged.
    """
    target = Path(os.path.realpath(folder))
    if not target.exists():
        with written_folder(target) as fresh:
            for name, content in contents.items():
                (fresh / name).write_bytes(content)
        return
    try:
        with contextlib.ExitStack() as stack:
            staged = []
            for name, content in contents.items():
                _refuse_all_but_files(target / name, links=False)
                temporary = stack.enter_context(_staged(target / name))
                _write(temporary, content)
                staged.append((temporary, target / name))
            for temporary, place in staged:
                os.replace(temporary, place)
        _flush_folder(target)
    except OSError as error:
        raise storage_error(folder, error) from error


@contextlib.contextmanager
def written_folder(path: AnyPath, *, within: AnyPath | None = None) -> Iterator[Path]:
    """Fill a temporary folder, which becomes the folder at `path`, or replaces the one there, once it is complete.

    Args:
        path: Folder to write; folders above it are created.
        within: Folder of results that contains it, as in `write_atomically`.

    Yields:
        An empty temporary folder to write plain files into.

    Raises:
        lipflow_core.errors.StorageError: If it can't be written; then an earlier folder is unchanged.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "model"
        >>> with written_folder(place) as folder:
        ...     _ = (folder / "spec.yaml").write_text("name: x")
        >>> [file.name for file in place.iterdir()]
        ['spec.yaml']
    """
    try:
        target = Path(os.path.realpath(path)) if within is None else _inside(path, within)
    except OSError as error:
        raise storage_error(path, error) from error
    temporary, replaced = _beside(target, "tmp"), _beside(target, "old")
    try:
        if os.path.lexists(target) and (target.is_symlink() or not target.is_dir()):
            raise NotADirectoryError(errno.ENOTDIR, f"{target.name} is {_kind(target)}, not a folder")
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


def make_folder(path: AnyPath, *, within: AnyPath) -> Path:
    """Create a folder below a folder of results; an existing one is kept.

    Returns:
        The folder, by the path that was given.

    Raises:
        lipflow_core.errors.StorageError: If it can't be made, or a link or file stands in its place.
    """
    try:
        place = _inside(path, within)
        if place.is_symlink():
            raise _link(place)
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    return Path(path)


def open_to_append(path: AnyPath, *, within: AnyPath) -> BinaryIO:
    """Open a file in a folder of results to append to it; it is created if it does not exist.

    Raises:
        lipflow_core.errors.StorageError: If it can't be opened, or is a link or no regular file.
    """
    try:
        place = _inside(path, within)
        if place.is_symlink():
            raise _link(place)
        _refuse_all_but_files(place, links=False)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        return os.fdopen(os.open(place, flags, 0o666), "ab")
    except OSError as error:
        raise storage_error(path, error) from error


def read_file(path: AnyPath, *, links: bool = True) -> bytes:
    """Read a file of a folder that may be a stranger's.

    Args:
        path: File to read.
        links: Whether a link in its place is followed. What is copied into a folder or page that is passed on is read
            without, since a link may lead to a private file.

    Raises:
        OSError: If it can't be read, is no regular file or, without `links`, is a link.
    """
    if not links and os.path.islink(path):
        raise _link(Path(path))
    check_regular(path)
    return Path(path).read_bytes()


def check_regular(path: AnyPath) -> None:
    """Raise an OSError unless a path, links followed, is a regular file: the reader of a pipe would wait for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, f"it is {_kind(Path(os.path.realpath(path)))}, not a file")


def refuse_links(folder: AnyPath) -> None:
    """Raise a StorageError if a folder of results holds a link, at any depth."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(place, name)):
                path = Path(place, name)
                raise storage_error(path, _link(path))


def remove_temporaries(folder: AnyPath) -> None:
    """Remove the temporary files that killed processes left in a folder; no other process may write to it meanwhile.

    If a process was killed while it replaced a folder, the earlier folder is put back unless the new one is in place.
    A folder whose name has 40 or more characters is an exception: its temporary name does not tell where it belongs, so
    that the earlier folder stays under a name such as ".NAME.01234567.old".
    """
    if os.path.islink(folder):
        return
    for path in Path(folder).glob(".*"):
        if is_temporary(path):
            _remove_all(path)
        elif match := re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.old", path.name):
            # Only names that were not cut tell what stood there.
            target = path.with_name(match[1])
            if len(match[1]) < _NAME_KEPT and not target.exists():
                with contextlib.suppress(OSError):
                    os.rename(path, target)
            elif target.exists():
                _remove_all(path)


def is_temporary(path: Path) -> bool:
    """Tell whether a file or folder has the name of one that is still being written."""
    return re.fullmatch(r"\..+\.[0-9a-f]{8}\.tmp", path.name) is not None


def check_folder(path: AnyPath) -> None:
    """Raise a StorageError if a folder can't be created or written: a file is in the way, or permission is missing."""
    check_file_name(path, StorageError)
    place = Path(os.path.realpath(path))
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise storage_error(path, NotADirectoryError(errno.ENOTDIR, f"{place} is {_kind(place)}, not a folder"))
    if not os.access(place, os.W_OK | os.X_OK):
        raise storage_error(path, PermissionError(errno.EACCES, f"{place} is not yours to write to"))


def storage_error(path: AnyPath, error: OSError) -> StorageError:
    """Make a StorageError from an OSError that occurred while `path` was written, with advice for the user."""
    elsewhere = "make room, or write elsewhere."
    in_the_way = "remove it, or write elsewhere."
    hints = {
        errno.ENOSPC: f"The disk is full: {elsewhere}",
        errno.EDQUOT: f"Your quota on this disk is used up: {elsewhere}",
        errno.EFBIG: "The file would be larger than this system allows: raise the limit, or write elsewhere.",
        errno.EROFS: "The disk is read-only: write elsewhere.",
        errno.EACCES: "You may not write there: change the folder's permissions, or write elsewhere.",
        errno.EPERM: "You may not write there: change the folder's permissions, or write elsewhere.",
        errno.ENOENT: "The folder does not exist: make it, or write elsewhere.",
        errno.EEXIST: f"A file stands where a folder is needed: {in_the_way}",
        errno.ENOTDIR: f"A file stands where a folder is needed: {in_the_way}",
        errno.ELOOP: f"Links within a folder of results are not followed: {in_the_way}",
    }
    reason = error.strerror or str(error)
    cure = hints.get(error.errno or 0, "Write elsewhere.")
    return StorageError(f"{os.fspath(path)}: can't be written: {reason}", cure)


def _inside(path: AnyPath, within: AnyPath) -> Path:
    """Resolve a path below a folder of results. Raises OSError if a folder between the two is a link."""
    relative = Path(path).relative_to(within)
    if ".." in relative.parts:
        raise PermissionError(errno.EPERM, f"{relative} leads out of the folder")
    place = Path(os.path.realpath(within))
    for name in relative.parts[:-1]:
        place /= name
        if place.is_symlink():
            raise _link(place)
    return place / relative.parts[-1]


def _link(path: Path) -> OSError:
    return OSError(errno.ELOOP, f"{path} is a link")


def _takes_a_stream(path: AnyPath) -> bool:
    """Tell whether a path is written to directly: a pipe, a terminal, or standard output by name."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    # /dev/stdout is a link to the open file: a rename would take the file away from whoever opened it.
    named_by_system = os.path.abspath(path).startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or (named_by_system and stat.S_ISREG(mode))


def _refuse_all_but_files(path: Path, *, links: bool) -> None:
    """Raise an OSError unless a path is free or holds a regular file, or where `links` is False, a link."""
    try:
        mode = os.stat(path).st_mode if links else os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, f"{path.name} is a folder")
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise OSError(errno.EINVAL, f"{path.name} is {_kind(path)}, not a file")


def _kind(path: Path) -> str:
    mode = os.lstat(path).st_mode
    kinds = {
        stat.S_ISLNK: "a link",
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((name for test, name in kinds.items() if test(mode)), "a file")


@contextlib.contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the file's folder; whatever is left there is removed on exit."""
    temporary = _beside(target, "tmp")
    try:
        yield temporary
    finally:
        _remove(temporary)


def _beside(target: Path, ending: str) -> Path:
    # In the same folder, since only there is a rename atomic; hidden, so that no listing takes it for a result.
    return target.with_name(f".{target.name[:_NAME_KEPT]}.{secrets.token_hex(4)}.{ending}")


def _write(path: Path, content: Content, *, durable: bool = True) -> None:
    with open(path, "xb") as file:
        _fill(file, content)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def _fill(file: BinaryIO, content: Content) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content.encode() if isinstance(content, str) else content)


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


def _remove_all(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        _remove(path)
