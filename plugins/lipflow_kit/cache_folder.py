"""Where captures keep what they computed, and paths as users write them. Imports neither torch nor numpy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

VARIABLE = "LIPFLOW_CORE_CACHE"
"""Environment variable that names the cache folder of all captures."""


def _expand(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path can't contain the character NUL")
    try:
        return path.expanduser()
    except RuntimeError as error:  # "~name" of a user who does not exist
        raise ValueError(str(error)) from error


UserPath = Annotated[Path, AfterValidator(_expand)]
"""A path in which ~ stands for the user's home folder."""


def cache_folder(chosen: Path | None, capture: str) -> Path:
    """Give the folder that holds the caches of one kind of capture.

    Args:
        chosen: The capture's option `cache`, used as it is unless None.
        capture: The component's name, such as "dome": the subfolder below `$LIPFLOW_CORE_CACHE`, or where that is not
            set, below the user's cache folder.
    """
    if chosen is not None:
        return chosen
    if root := os.environ.get(VARIABLE):
        return Path(root) / capture
    import platformdirs

    return Path(platformdirs.user_cache_dir("lipflow-core")) / capture
