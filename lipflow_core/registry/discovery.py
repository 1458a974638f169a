"""Finding plugins and importing them: entry points of installed distributions, modules, files and folders."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from lipflow_core.errors import PluginError
from lipflow_core.hooks import ENTRY_POINT_GROUP, Component
from lipflow_core.registry.layers import Entry, Layer

_LOCAL = "lipflow_local_"


def entry_point_layer(taken: set[str]) -> Layer:
    """The layer of installed distributions that have an entry point in the group.

    Args:
        taken: Names of shipped plugins; an entry point of such a name is called "DISTRIBUTION:NAME", so that it adds
            to the shipped ones and replaces none.
    """
    plugins: dict[str, Entry] = {}
    for distribution, name, value in _entry_points():
        key = f"{distribution}:{name}" if name in taken or name in plugins else name
        plugins.setdefault(key, Entry(module=value, enabled=True, distribution=distribution))
    return Layer("entry point", plugins)


def _entry_points() -> Iterator[tuple[str, str, str]]:
    """(distribution, name, value) of every entry point in the group, first on the path first.

    Looks for the group's name in the files before it parses any: importing importlib.metadata and reading every
    distribution with it takes longer than all else that `lipflow-core plugins list` does.
    """
    seen: set[str] = set()
    for place in dict.fromkeys(sys.path):
        folder = place or os.getcwd()
        try:
            names = sorted(os.listdir(folder))
        except NotADirectoryError:
            names = [os.path.basename(folder)] if folder.endswith((".egg", ".zip", ".whl")) else []
            if names:
                yield from _parsed(folder, None, seen)
            continue
        except OSError:
            continue
        for name in names:
            if not name.endswith((".dist-info", ".egg-info")):
                continue
            try:
                with open(os.path.join(folder, name, "entry_points.txt"), "rb") as file:
                    mentioned = ENTRY_POINT_GROUP.encode() in file.read()
            except OSError:
                continue
            if mentioned:
                yield from _parsed(folder, name, seen)


def _parsed(folder: str, metadata: str | None, seen: set[str]) -> Iterator[tuple[str, str, str]]:
    import importlib.metadata

    if metadata is None:
        found = importlib.metadata.distributions(path=[folder])
    else:
        found = [importlib.metadata.Distribution.at(os.path.join(folder, metadata))]
    for distribution in found:
        name = distribution.metadata["Name"]
        normal = name.lower().replace("_", "-").replace(".", "-")
        if normal in seen:
            continue  # an older copy further down the path
        seen.add(normal)
        for point in distribution.entry_points:
            if point.group == ENTRY_POINT_GROUP:
                yield name, point.name, point.value


def load_plugin(entry: Entry) -> tuple[Any, str | None]:
    """Import a plugin.

    Returns:
        The module (or the object that "module:attribute" names) and, for a plugin given by path, the name of the
        package that stands for its folder.

    Raises:
        Exception: Whatever importing it raises.
    """
    if entry.path is not None:
        return _load_path(entry.path)
    name, _, attribute = entry.module.partition(":")
    plugin: Any = importlib.import_module(name)
    for part in filter(None, attribute.split(".")):
        plugin = getattr(plugin, part)
    return plugin, None


def _load_path(path: Path) -> tuple[ModuleType, str]:
    """Import a file or package folder as a module of a package that stands for the folder it lies in.

    The package's name holds a hash of the folder's path: the same file always has the same name, files of one name in
    two folders have different ones, nothing on sys.path is shadowed, and the plugin's files can import each other
    relatively (`from .my_prior_model import …`).
    """
    if path.is_dir() and not (path / "__init__.py").is_file():
        raise FileNotFoundError(f"{path} is a folder without __init__.py")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_file() and path.suffix != ".py":
        raise FileNotFoundError(f"{path} is neither a .py file nor a package folder")
    package = _folder_package(path.parent)
    return importlib.import_module(f"{package}.{path.stem}"), package


def _folder_package(folder: Path) -> str:
    import hashlib

    name = f"{_LOCAL}{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"
    if name not in sys.modules:
        specification = importlib.machinery.ModuleSpec(name, None, is_package=True)
        specification.submodule_search_locations = [str(folder)]
        sys.modules[name] = importlib.util.module_from_spec(specification)
    return name


def localise(import_path: str, package: str | None) -> str:
    """Turn an import path of a plugin given by path into one that importlib understands.

    Args:
        import_path: "my_prior_model:MixturePrior".
        package: The package that stands for the plugin's folder, or None for an ordinary module.

    Returns:
        The same path within that package if the folder has such a module, else as it was.
    """
    if package is None:
        return import_path
    first = import_path.partition(":")[0].partition(".")[0]
    return f"{package}.{import_path}" if _lies_in(package, first) else import_path


def is_local_neighbour(module: str | None, import_path: str) -> bool:
    """Whether a module that was not found is a file beside the plugin, given by path, that was being imported."""
    package = import_path.partition(".")[0]
    return bool(module) and package.startswith(_LOCAL) and _lies_in(package, module)


def _lies_in(package: str, module: str) -> bool:
    (folder,) = sys.modules[package].__path__
    return os.path.isfile(os.path.join(folder, f"{module}.py")) or os.path.isfile(
        os.path.join(folder, module, "__init__.py")
    )


def load_attribute(import_path: str) -> Any:
    """The object at "package.module:Class"."""
    module, _, attribute = import_path.partition(":")
    result: Any = importlib.import_module(module)
    for part in attribute.split("."):
        result = getattr(result, part)
    return result


def load_object(import_path: str, component: Component, *, check_requirements: bool = True) -> Any:
    """Import a component's class.

    Args:
        import_path: "package.module:Class".
        component: Whose it is.
        check_requirements: Whether the packages that it requires must be there.

    Raises:
        PluginError: If a required package is missing, with the command that installs it, or if the import fails.
    """
    who = f"{component.kind} '{component.name}'"
    if check_requirements and (missing := missing_requirements(component.requires)):
        raise PluginError(
            f"{who} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            f"install it with: {component.install}" if component.install else "install it and try again",
        )
    try:
        return load_attribute(import_path)
    except Exception as error:
        hint = None
        if isinstance(error, ModuleNotFoundError) and is_local_neighbour(error.name, import_path):
            hint = f"a plugin given by path imports its own files relatively: from .{error.name} import …"
        raise PluginError(f"{who} can't be loaded: importing {import_path} failed: {describe(error)}", hint) from error


def missing_requirements(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those import names that nothing installed provides; imports none of them."""
    return tuple(name for name in names if not _importable(name))


def _importable(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def ensure_importable(module: str, folder: Path | None) -> None:
    """Put a checkout's plugins/ at the end of sys.path if a shipped plugin can't be imported without it."""
    if folder is not None and str(folder) not in sys.path and not _importable(module):
        sys.path.append(str(folder))


def describe(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, PluginError) and error.hint is None:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
