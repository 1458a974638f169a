"""Finds plugins, and looks up the component or command that a name means.

Importing this, and listing components and commands, imports no torch and no pydantic. `lipflow_core.registry.layers`
tells how layers are found; docs/plugins.md is for authors of plugins.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from lipflow_core.errors import PluginError
from lipflow_core.file_names import check_file_name
from lipflow_core.registry.admission import Refusal
from lipflow_core.registry.catalogue import Registry
from lipflow_core.registry.discovery import load_object
from lipflow_core.registry.layers import Layer, read_layer
from lipflow_core.registry.plugin import Plugin
from lipflow_core.registry.process_layer import Registered, everything, layer_of

__all__ = [
    "Layer",
    "Plugin",
    "Refusal",
    "Registry",
    "command_line",
    "default_registry",
    "find_layers",
    "installed_registry",
    "load_object",
    "read_layer",
    "set_command_line",
]

_command_line: tuple[tuple[Path, ...], tuple[str, ...]] = ((), ())


def set_command_line(registries: Sequence[str | Path], disabled: Sequence[str]) -> None:
    """Set the top layer of `default_registry` for this process.

    Args:
        registries: Registry files, as given by `--registry`.
        disabled: Plugins or distributions to switch off, as given by `--disable`.
    """
    global _command_line
    _command_line = (tuple(Path(path).expanduser().absolute() for path in registries), tuple(disabled))


def command_line() -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Give what `set_command_line` set in this process, for the processes that it starts."""
    return _command_line


def default_registry() -> Registry:
    """Return the registry for the current directory, environment and command line; it is made once for each of them.

    What `lipflow_core.register` registered lies on top.

    Raises:
        PluginError: If a registry file can't be understood.
    """
    from lipflow_core.registry.layers import DISABLE_VARIABLE, REGISTRY_VARIABLE

    variables = tuple(os.environ.get(name, "") for name in (REGISTRY_VARIABLE, DISABLE_VARIABLE))
    return _registry(Path.cwd(), variables, _command_line, everything())


@cache
def _registry(
    directory: Path,
    variables: tuple[str, str],
    command_line: tuple[tuple[Path, ...], tuple[str, ...]],
    registered: tuple[Registered, ...],
) -> Registry:
    layers = find_layers(directory, *variables, *command_line)
    return Registry([*layers, layer_of(registered)] if registered else layers)


def installed_registry() -> Registry:
    """Return a registry of shipped and installed plugins; other registry files, variables and options are ignored."""
    return Registry(_installed_layers())


def find_layers(
    directory: Path,
    environment_files: str = "",
    environment_disabled: str = "",
    files: Sequence[Path] = (),
    disabled: Sequence[str] = (),
) -> list[Layer]:
    """Read the stack of layers, lowest first.

    Args:
        directory: Folder in which the search for the project's registry.toml begins.
        environment_files: Value of LIPFLOW_CORE_REGISTRY, files separated as in PATH.
        environment_disabled: Value of LIPFLOW_CORE_DISABLE, plugins separated by commas.
        files: Registry files of the command line.
        disabled: Plugins that the command line disables.
    """
    from lipflow_core.registry.layers import (
        DISABLE_VARIABLE,
        REGISTRY_VARIABLE,
        disabling,
        project_file,
        user_file,
    )
    from lipflow_core.shipped import shipped

    layers = _installed_layers()
    if (user := user_file()).is_file():
        layers.append(read_layer(user, "user"))
    marks = [mark for layer in layers for mark in layer.marks]
    if (project := project_file(directory, marks)) is not None and not project.samefile(shipped("registry.toml")):
        layers.append(read_layer(project, "project"))
    for file in filter(None, environment_files.split(os.pathsep)):
        layers.append(read_layer(_existing(Path(file).expanduser(), REGISTRY_VARIABLE), "environment"))
    names = [name.strip() for name in environment_disabled.split(",") if name.strip()]
    # A variable set once for many environments may name plugins that this one lacks.
    layers.append(disabling(names, f"environment ({DISABLE_VARIABLE})", strict=False))
    layers.extend(read_layer(_existing(file, "--registry"), "command line") for file in files)
    layers.append(disabling(disabled, "command line (--disable)", strict=True))
    return layers


def _installed_layers() -> list[Layer]:
    from dataclasses import replace

    from lipflow_core.registry.discovery import ensure_importable, entry_point_layer
    from lipflow_core.shipped import checkout_plugins, shipped

    layer = read_layer(shipped("registry.toml"), "shipped")
    plugins = {name: replace(entry, distribution="lipflow-core") for name, entry in layer.plugins.items()}
    for entry in plugins.values():
        ensure_importable(entry.module, checkout_plugins())
    return [replace(layer, origin="shipped", plugins=plugins), entry_point_layer(set(plugins))]


def _existing(path: Path, named_by: str) -> Path:
    check_file_name(path, PluginError)
    if not path.is_file():
        raise PluginError(f"{named_by} names {path}, which is not a file", "correct or remove it")
    return path
