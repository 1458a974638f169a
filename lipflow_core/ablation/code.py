"""The code that a cell depends on: versions of the distributions in use, and hashes of those that are being edited.

Imports no torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path

from lipflow_core.errors import LipflowError
from lipflow_core.parts import Part
from lipflow_core.registry import Plugin, Registry
from lipflow_core.shipped import checkout_plugins
from lipflow_core.version import __version__

CORE = "lipflow-core"
_NO_RESULT = ("ablation", "cli", "testing")
"""Folders of lipflow_core whose code changes no result of a cell, but for these files."""
_RESULT = ("ablation/kinds.py", "ablation/planning.py", "ablation/prefixes.py")
"""Files in these folders that decide what cells compute."""


def code_of(parts: Iterable[Part], registry: Registry) -> dict[str, str]:
    """Map each package that cells of some components use → its version.

    Of a package that is edited where it lies, in a checkout or an editable install, a hash of its files is added to
    the version: `0.1.0+3fa91c20`. For a plugin given by path the version is a hash of its code.

    Args:
        parts: The components.
        registry: Registry that they come from.
    """
    found = {CORE: core_version()}
    for part in parts:
        plugin = registry.plugin(part.component)
        if plugin.distribution != CORE:
            found[plugin.distribution] = _version_of(plugin)
        elif checkout_plugins() is not None:
            found |= {name: edited_version(name, __version__) for name in (_package_of(plugin), *_libraries(registry))}
    return dict(sorted(found.items()))


def all_code(registry: Registry) -> dict[str, str]:
    """Map lipflow-core and each plugin that is on → its version, as in `code_of`."""
    found = {CORE: core_version()}
    for name, plugin in registry.plugins.items():
        if plugin.status == "ok":
            found[name] = _version_of(plugin)
    return found | {name: edited_version(name, __version__) for name in _libraries(registry)}


def check_unchanged(code: Mapping[str, str]) -> None:
    """Check that packages which are being edited are as they were when a cell was planned.

    Args:
        code: Package → version, as `code_of` gave it.

    Raises:
        CodeChangedError: If the code of one was changed meanwhile.
    """
    for name, version in code.items():
        before, plus, _ = version.partition("+")
        package = "lipflow_core" if name == CORE else name
        if plus and importlib.util.find_spec(package) is not None and edited_version(package, before) != version:
            raise CodeChangedError(
                f"the code of {package} was edited while the grid ran",
                "Start it again: it tells which cells are stale. To edit code meanwhile, run grids from another "
                "checkout.",
            )


class CodeChangedError(LipflowError):
    """Code was edited while a grid ran, so that its next cells would not be what they are called (exit code 1)."""


def core_version() -> str:
    """Give the version of lipflow-core, with a hash of its files in a checkout."""
    return __version__ if checkout_plugins() is None else edited_version("lipflow_core", __version__)


def edited_version(package: str, version: str) -> str:
    """Add a hash of a package's present files to its version; files are read again if their time or size changed.

    Args:
        package: Name that it is imported by.
        version: Version of its distribution.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return version
    file = Path(spec.origin)
    paths = [file] if file.name != "__init__.py" else sorted(file.parent.rglob("*.py"))
    if package == "lipflow_core":
        paths = [path for path in paths if _changes_results(path.relative_to(file.parent))]
    stats = [(path, path.stat()) for path in paths]
    found = tuple((path.relative_to(file.parent).as_posix(), stat.st_mtime_ns, stat.st_size) for path, stat in stats)
    return f"{version}+{_hash_of(file.parent, found)}"


@lru_cache(maxsize=64)
def _hash_of(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, _ in files:
        digest.update(name.encode())
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:8]


def _changes_results(path: Path) -> bool:
    return path.parts[0] not in _NO_RESULT or path.as_posix() in _RESULT


def _version_of(plugin: Plugin) -> str:
    if plugin.entry.path is not None:
        return plugin.version
    edited = checkout_plugins() is not None if plugin.distribution == CORE else _is_editable(plugin.distribution)
    return edited_version(_package_of(plugin), plugin.version) if edited else plugin.version


def _libraries(registry: Registry) -> list[str]:
    """Packages of a checkout that plugins import and that are no plugins themselves."""
    plugins = {_package_of(plugin) for plugin in registry.plugins.values() if plugin.entry.module is not None}
    folders = [path.parent for path in (checkout_plugins() or Path()).glob("*/__init__.py")]
    return sorted(folder.name for folder in folders if folder.name not in plugins)


def _package_of(plugin: Plugin) -> str:
    return plugin.entry.module.partition(":")[0].partition(".")[0]


@cache
def _is_editable(distribution: str) -> bool:
    try:
        text = importlib.metadata.distribution(distribution).read_text("direct_url.json")
        return bool(json.loads(text or "{}").get("dir_info", {}).get("editable"))
    except (importlib.metadata.PackageNotFoundError, ValueError, AttributeError):
        return False
