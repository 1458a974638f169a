"""Layers of the registry: which files and variables say what about plugins and aliases, lowest first.

1. shipped: the registry.toml that comes with lipflow-core;
2. entry points: installed distributions with an entry point in the group `lipflow_core.plugins`;
3. user: registry.toml in the user's configuration folder (`~/.config/lipflow-core/` on Linux);
4. project: registry.toml in the current directory or, within a git work tree, in the nearest parent up to its root;
5. environment: the files that LIPFLOW_CORE_REGISTRY names, and the plugins that LIPFLOW_CORE_DISABLE names;
6. command line: `--registry FILE` and `--disable NAME`.

The project layer is looked for from the current directory only, never beside a spec or a model, and never in or below a
folder of data: a model, a run, a fit, an evaluation, or a capture. Opening what somebody else made adds no code of
theirs, not even from within.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lipflow_core.errors import PluginError
from lipflow_core.hooks import KINDS
from lipflow_core.spelling import choices

FILE_NAME = "registry.toml"
REGISTRY_VARIABLE = "LIPFLOW_CORE_REGISTRY"
DISABLE_VARIABLE = "LIPFLOW_CORE_DISABLE"

RESULT_FILES = ("lock.json", "run.json", "fit.json", "evaluation.json")
"""Each marks a folder that lipflow-core wrote and that people pass on: a model, a run, a fit, an evaluation. Marks of
captures stand in registry.toml, since the core knows no file format of theirs."""


@dataclass(frozen=True)
class Entry:
    """Holds the settings of one plugin in one layer; None stands for a setting that the layer does not make.

    Args:
        module: Import path of the plugin's module, or "module:attribute".
        path: Absolute path of a file or package folder.
        enabled: Whether the plugin is enabled.
        distribution: Distribution that brought the plugin, if the layer knows it.
        damage: Reason why the plugin can't be loaded, if the layer knows one.
        version: Version of the distribution, if the layer knows it.
    """

    module: str | None = None
    path: Path | None = None
    enabled: bool | None = None
    distribution: str | None = None
    damage: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class Layer:
    """Holds one source of plugins and aliases.

    Args:
        origin: Name and place of the layer, such as "project (faces/registry.toml)".
        plugins: Plugin's name → its settings in this layer.
        aliases: Kind → alias → component's name or "DISTRIBUTION:NAME".
        defaults: Key → the component, or list of components, that options take by default; see
            `lipflow_core.parts.RegistryDefault`.
        marks: Paths of files that mark the folder that they lie in as one of data.
        strict: Whether disabling a plugin that no layer knows is an error.
    """

    origin: str
    plugins: Mapping[str, Entry] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    strict: bool = True


def read_layer(path: Path, name: str) -> Layer:
    """Read a registry.toml.

    Args:
        path: File to read.
        name: Name of the layer, for its origin.

    Raises:
        PluginError: If it can't be read, is not TOML, or holds a key or value that is not known.
    """
    import tomllib

    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"{path}: the registry can't be read: {error}") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PluginError(f"{path}: not valid TOML: {error}") from error
    reader = _Reader(path, text)
    reader.keys("", data, {"plugins": dict, "aliases": dict, "defaults": dict, "data": dict})
    reader.keys("data", data.get("data", {}), {"marks": list})
    plugins = {key: reader.entry(key, table) for key, table in data.get("plugins", {}).items()}
    aliases = {kind: reader.alias(kind, table) for kind, table in data.get("aliases", {}).items()}
    marks = reader.texts("data", "marks", data.get("data", {}).get("marks", []))
    return Layer(f"{name} ({path})", plugins, aliases, data.get("defaults", {}), marks)


class _Reader:
    """Checks the tables of one file, with the line in every message."""

    def __init__(self, path: Path, text: str):
        self.path = path
        self.lines = text.splitlines()

    def entry(self, key: str, table: Any) -> Entry:
        where = f"plugins.{key}"
        if not isinstance(table, dict):
            raise self.error(key, f"[{where}] must be a table", "write: enabled = true, module = … or path = …")
        self.keys(where, table, {"module": str, "path": str, "enabled": bool})
        if "module" in table and "path" in table:
            raise self.error(key, f"[{where}] has both 'module' and 'path'", "keep one of them")
        path = None
        if "path" in table:
            path = (self.path.parent / Path(table["path"]).expanduser()).resolve()
        return Entry(table.get("module"), path, table.get("enabled"))

    def alias(self, kind: str, table: Any) -> Mapping[str, str]:
        if kind not in KINDS:
            raise self.error(kind, f"[aliases.{kind}]: there is no kind '{kind}'", choices(kind, KINDS))
        if not isinstance(table, dict):
            raise self.error(kind, f'[aliases.{kind}] must be a table of alias = "name"')
        for alias, target in table.items():
            if not isinstance(target, str):
                raise self.error(alias, f"[aliases.{kind}] {alias} must be a component's name, got {target!r}")
        return table

    def texts(self, where: str, key: str, values: list[Any]) -> tuple[str, ...]:
        for value in values:
            if not isinstance(value, str):
                raise self.error(key, f"[{where}] {key} must be a list of strings, got {value!r} in it")
        return tuple(values)

    def keys(self, where: str, table: Mapping[str, Any], known: Mapping[str, type]) -> None:
        for key, value in table.items():
            place = f"[{where}] " if where else ""
            if key not in known:
                raise self.error(key, f"{place}unknown key '{key}'", choices(key, known))
            if not isinstance(value, known[key]):
                kinds = {dict: "a table", str: "a string", bool: "true or false", list: "a list"}
                raise self.error(key, f"{place}{key} must be {kinds[known[key]]}, got {value!r}")

    def error(self, token: str, message: str, hint: str | None = None) -> PluginError:
        # tomllib gives no positions; the first line with the offending word is nearly always the right one.
        line = next((n for n, text in enumerate(self.lines, 1) if token in text.partition("#")[0]), None)
        return PluginError(f"{self.path}{f':{line}' if line else ''}: {message}", hint)


def user_file() -> Path:
    """Give the path of the user's registry.toml, whether or not it exists."""
    if sys.platform == "linux":
        # What platformdirs says on Linux, without the time to import it.
        base = os.environ.get("XDG_CONFIG_HOME", "").strip() or os.path.expanduser("~/.config")
        return Path(base) / "lipflow-core" / FILE_NAME
    import platformdirs

    return Path(platformdirs.user_config_dir("lipflow-core", appauthor=False)) / FILE_NAME


def project_file(directory: Path, marks: Sequence[str] = ()) -> Path | None:
    """Find the project's registry.toml as seen from a directory.

    Within a git work tree the nearest one up to its root counts; elsewhere only the directory's own, since whoever can
    write to a folder further up could run code through it. One that lies in or below a folder of data is skipped:
    somebody else may have made that folder, and the registry.toml with it.

    Args:
        directory: The current directory.
        marks: Paths of files that mark folders of data, beside `RESULT_FILES`.

    Returns:
        The file; None if there is none.

    Warns:
        UserWarning: If a registry.toml is skipped.
    """
    places = [directory]
    for parent in (directory, *directory.parents):
        if os.path.exists(parent / ".git"):
            places = [directory, *directory.parents]
            places = places[: places.index(parent) + 1]
            break
    for place in places:
        file = place / FILE_NAME
        if not os.path.isfile(file):
            continue
        above = (folder / mark for folder in (place, *place.parents) for mark in (*RESULT_FILES, *marks))
        mark = next((path for path in above if os.path.exists(path)), None)
        if mark is None:
            return file
        warnings.warn(
            f"{file} is left unread: {mark} marks a folder of data, which somebody else may have made; if you trust "
            f"it, give --registry {file}",
            stacklevel=2,
        )
    return None


def disabling(names: Sequence[str], origin: str, *, strict: bool) -> Layer:
    """Make a layer that switches plugins off, named by plugin or by distribution."""
    return Layer(origin, {name: Entry(enabled=False) for name in names}, strict=strict)
