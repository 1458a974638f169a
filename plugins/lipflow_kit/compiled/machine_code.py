"""The machine code of compiled kernels on disk: valid for the sources that it was compiled from, safe to share.

numba's own cache considers a kernel valid while the kernel's own file is unchanged, although other files are compiled
into it. It keeps an index per kernel that processes read, change and write back: of two that compile at the same time,
one loses its entry. Here numba reads and writes its files as ever, but each signature has an index of its own, whose
name is a digest of all that the machine code depends on, so files are only added.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import types
from numba.core.caching import IndexDataCacheFile
from numba.core.dispatcher import Dispatcher

_IMPORT = re.compile(r"^[ \t]*(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|.+)|import\s+(.+))", re.MULTILINE)
_LEFT_OUT = sys.stdlib_module_names | {"numba", "llvmlite"}
_DIGITS = 12
"""Hexadecimal digits of a digest in a file's name: 48 bits tell the few states of one kernel apart."""


def keep(dispatcher: Dispatcher) -> None:
    """Replace the files of numba's cache for a kernel, made with `cache=True`, by those of `MachineCode`."""
    function, folder = dispatcher.py_func, Path(dispatcher.stats.cache_path)
    dispatcher._cache._cache_file = MachineCode(folder, f"{function.__module__}.{function.__qualname__}", function)


class MachineCode:
    """Keeps the files of one kernel; it has the methods that numba calls on its index.

    Args:
        folder: Folder of the files.
        name: Name of the kernel, unique in the folder.
        function: The kernel's Python function: its module, and what that imports, are the sources.
    """

    def __init__(self, folder: Path, name: str, function: Any):
        self._folder = folder
        self._name = f"{re.sub('[^a-zA-Z0-9_.]', '', name)}.{sys.implementation.cache_tag}"
        self._state = _digest(numba.__version__, llvmlite.__version__, *sources(function.__module__))

    def load(self, key: tuple) -> Any:
        """Return what was saved under a key, or None; damaged files count as missing."""
        with suppress(Exception):  # numba's reading of damaged files raises many kinds
            return self._file(key).load(key)
        return None

    def save(self, key: tuple, data: Any) -> None:
        """Save the machine code of one signature and delete what was compiled from other states of the sources."""
        with suppress(OSError):  # a folder that became read-only or a full disk: the next process compiles again
            self._file(key).save(key, data)
            for path in self._files():
                if not path.name.startswith(f"{self._name}.{self._state}."):
                    path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Delete the kernel's files."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _file(self, key: tuple) -> IndexDataCacheFile:
        signature, *machine = key
        name = f"{self._name}.{self._state}.{_digest(_spelled(signature), repr(machine))}"
        return IndexDataCacheFile(str(self._folder), name, self._state)

    def _files(self) -> Iterator[Path]:
        return (path for path in self._folder.glob(f"{self._name}.*") if path.suffix in {".nbi", ".nbc"})


def sources(module: str) -> Iterator[str]:
    """Yield a digest of each source file that a module's kernels may be made of.

    These are the module itself, every module that it imports, and in turn those imported by modules of its own package
    or of this library. Modules of other packages are followed no further, and the standard library, numba and llvmlite
    are left out.

    Args:
        module: Name of a module that is being imported or has been.
    """
    followed = {_package(module), _package(__name__)}
    pending, seen = [module], {module}
    while pending:
        name = pending.pop()
        path = getattr(sys.modules[name], "__file__", None) or ""
        if not path.endswith(".py") or not os.path.exists(path):
            continue
        digest, imported = _read(path, name)
        yield f"{name} {digest}"
        if _package(name) in followed:
            found = [other for other in imported if other in sys.modules and other not in seen]
            pending += [other for other in found if _package(other) not in _LEFT_OUT]
            seen.update(found)


@cache
def _read(path: str, module: str) -> tuple[str, tuple[str, ...]]:
    """Return a file's digest and the sorted names of modules that it may import."""
    text = Path(path).read_text(encoding="utf-8")
    package = module if os.path.basename(path) == "__init__.py" else module.rpartition(".")[0]
    names = set()
    for base, members, plain in _IMPORT.findall(text):
        names.update(re.findall(r"[\w.]+", plain))
        if base:
            base = resolve_name(base, package) if base.startswith(".") else base
            names.update([base, *(f"{base}.{member}" for member in re.findall(r"\w+", members))])
    return _digest(text), tuple(sorted(names))


def _package(module: str) -> str:
    return module.partition(".")[0]


def _spelled(kind: Any) -> str:
    """Spell a signature, with classes and fields of named tuples: kernels are compiled for the order of the fields."""
    if not isinstance(kind, (tuple, types.BaseTuple)):
        return str(kind)
    made_of = ", ".join(map(_spelled, kind))
    return f"{getattr(kind, 'instance_class', '')}{getattr(kind, 'fields', '')}({made_of})"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:_DIGITS]
