"""Checks paths from the user for names that no file can have."""

from __future__ import annotations

import errno
import os

from lipflow_core.errors import LipflowError


def check_file_name(path: str | os.PathLike[str], error: type[LipflowError]) -> None:
    """Check that a file or folder may have this name, and that what leads to it may be looked at.

    Args:
        path: The path, which need not exist.
        error: Class of the error to raise.

    Raises:
        LipflowError: Of class `error`, if the path holds a NUL character or is too long, or a folder on it can't be
            entered.
    """
    try:
        os.lstat(path)
    except ValueError:
        raise error(f"{os.fspath(path)}: no file can have this name, which holds NUL", "Give another one.") from None
    except OSError as found:
        if found.errno == errno.ENAMETOOLONG:
            raise error(
                f"{os.fspath(path)}: the name is longer than the system allows", "Give a shorter one."
            ) from found
        if found.errno == errno.EACCES:
            raise error(
                f"{os.fspath(path)}: can't be read: you may not enter its folder", "Change the folder's permissions."
            ) from found
