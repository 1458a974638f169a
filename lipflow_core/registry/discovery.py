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
from lipflow_core.hooks import ENTRY_POINT_GROUP, Command, Component
from lipflow_core.registry.layers import Entry, Layer
from lipflow_core.spelling import canonical

_LOCAL = "lipflow_local_"


def entry_point_layer(taken: set[str]) -> Layer:
    """Make the layer of installed distributions that have an entry point in the group.

    A damaged distribution becomes a plugin that is broken, named by its folder.

    Args:
        taken: Names of shipped plugins; an entry point of such a name is called "DISTRIBUTION:NAME", so that it adds
            to the shipped ones and replaces none.
    """
    plugins: dict[str, Entry] = {}
    for name, entry in _entry_points():
        key = f"{entry.distribution}:{name}" if name in taken or name in plugins else name
        plugins.setdefault(key, entry)
    return Layer("entry point", plugins)


def _entry_points() -> Iterator[tuple[str, Entry]]:
    """Yield name and content of every entry point in the group, first on the path first.

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


def _parsed(folder: str, metadata: str | None, seen: set[str]) -> Iterator[tuple[str, Entry]]:
    import importlib.metadata

    place = Path(folder, metadata or "")
    try:
        if metadata is None:
            found = list(importlib.metadata.distributions(path=[folder]))
        else:
            found = [importlib.metadata.Distribution.at(place)]
        for distribution in found:
            name = distribution.metadata["Name"]
            if not name:
                raise ValueError("its METADATA is missing or gives no name")
            points = [(p.name, p.value) for p in distribution.entry_points if p.group == ENTRY_POINT_GROUP]
            if canonical(name) in seen:
                continue  # an older copy further down the path
            seen.add(canonical(name))
            for point, value in points:
                yield point, Entry(module=value, enabled=True, distribution=name)
    except Exception as error:  # damaged in one of many ways
        damage = f"the installed distribution {place} is damaged: {describe(error)}; install it again"
        name = place.stem.partition("-")[0]
        yield place.name, Entry(path=place, enabled=True, distribution=name, damage=damage)


def load_plugin(entry: Entry) -> tuple[Any, str | None]:
    """Import a plugin, or raise what is wrong with it.

    Returns:
        The module (or the object that "module:attribute" names) and, for a plugin given by path, the name of the
        package that stands for its folder.

    Raises:
        Exception: Whatever importing it raises.
    """
    if entry.damage is not None:
        raise PluginError(entry.damage)
    if entry.path is not None:
        return _load_path(entry.path)
    return load_attribute(entry.module), None


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
        import_path: "my_prior_model:MixturePrior", or a module alone.
        package: The package that stands for the plugin's folder, or None for an ordinary module.

    Returns:
        The same path within that package if the folder has such a module, else as it was.
    """
    if package is None:
        return import_path
    first = import_path.partition(":")[0].partition(".")[0]
    return f"{package}.{import_path}" if _lies_in(package, first) else import_path


def is_local_neighbour(module: str | None, import_path: str) -> bool:
    """Tell whether a module that was not found is a file beside the plugin, given by path, that was being imported."""
    package = import_path.partition(".")[0]
    return bool(module) and package.startswith(_LOCAL) and _lies_in(package, module)


def _lies_in(package: str, module: str) -> bool:
    (folder,) = sys.modules[package].__path__
    return os.path.isfile(os.path.join(folder, f"{module}.py")) or os.path.isfile(
        os.path.join(folder, module, "__init__.py")
    )


def load_attribute(import_path: str) -> Any:
    """Import the object at "package.module:Class", or the module at "package.module"."""
    module, _, attribute = import_path.partition(":")
    result: Any = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        result = getattr(result, part)
    return result


def load_object(import_path: str, offer: Component | Command, *, check_requirements: bool = True) -> Any:
    """Import a class of a component, or the module of a command.

    Args:
        import_path: "package.module:Class" or "package.module".
        offer: The component or command that it belongs to.
        check_requirements: Whether the packages that it requires must be there.

    Raises:
        PluginError: If a required package is missing, with the command that installs it, or if the import fails.
    """
    who = f"{offer.kind} '{offer.name}'"
    if check_requirements and (missing := missing_requirements(offer.requires)):
        raise PluginError(
            f"{who} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            f"install it with: {offer.install}" if offer.install else "install it and try again",
        )
    try:
        return load_attribute(import_path)
    except (Exception, SystemExit) as error:
        hint = None
        if isinstance(error, ModuleNotFoundError) and is_local_neighbour(error.name, import_path):
            hint = f"a plugin given by path imports its own files relatively: from .{error.name} import …"
        raise PluginError(f"{who} can't be loaded: importing {import_path} failed: {describe(error)}", hint) from error


def missing_requirements(names: tuple[str, ...]) -> tuple[str, ...]:
    """List those import names that nothing installed provides, without importing any."""
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
    """Write an exception in one line."""
    if isinstance(error, SystemExit):
        return f"it calls sys.exit({error.code!r}), which a plugin must not"
    text = " ".join(str(error).split())
    if isinstance(error, PluginError) and error.hint is None:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
