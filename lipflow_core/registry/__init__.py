"""Which plugins there are, where each comes from, and how a name in a spec finds its component.

Importing this, and listing components and commands, imports no torch and no pydantic. `lipflow_core.registry.layers`
tells how layers are found; docs/plugins.md is for authors of plugins.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from lipflow_core.errors import PluginError
from lipflow_core.registry.admission import Refusal
from lipflow_core.registry.catalogue import Registry
from lipflow_core.registry.discovery import load_object
from lipflow_core.registry.layers import Layer, read_layer
from lipflow_core.registry.plugin import Plugin

__all__ = [
    "Layer",
    "Plugin",
    "Refusal",
    "Registry",
    "command_line",
    "default_registry",
    "find_layers",
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
    """Give the registry as seen from the current directory, environment and command line; made once for each of them.

    Raises:
        PluginError: If a registry file can't be understood.
    """
    from lipflow_core.registry.layers import DISABLE_VARIABLE, REGISTRY_VARIABLE

    variables = tuple(os.environ.get(name, "") for name in (REGISTRY_VARIABLE, DISABLE_VARIABLE))
    return _registry(Path.cwd(), variables, _command_line)


@cache
def _registry(
    directory: Path, variables: tuple[str, str], command_line: tuple[tuple[Path, ...], tuple[str, ...]]
) -> Registry:
    return Registry(find_layers(directory, *variables, *command_line))


def find_layers(
    directory: Path,
    environment_files: str = "",
    environment_disabled: str = "",
    files: Sequence[Path] = (),
    disabled: Sequence[str] = (),
) -> list[Layer]:
    """Read the stack of layers, lowest first.

    Args:
        directory: Where the project's registry.toml is looked for.
        environment_files: Value of LIPFLOW_CORE_REGISTRY, files separated as in PATH.
        environment_disabled: Value of LIPFLOW_CORE_DISABLE, plugins separated by commas.
        files: Those of the command line.
        disabled: Those of the command line.
    """
    from lipflow_core.registry.discovery import ensure_importable, entry_point_layer
    from lipflow_core.registry.layers import (
        DISABLE_VARIABLE,
        REGISTRY_VARIABLE,
        disabling,
        project_file,
        user_file,
    )
    from lipflow_core.shipped import checkout_plugins, shipped

    own = shipped("registry.toml")
    layers = [_shipped_layer(own)]
    for entry in layers[0].plugins.values():
        ensure_importable(entry.module, checkout_plugins())
    layers.append(entry_point_layer(set(layers[0].plugins)))
    if (user := user_file()).is_file():
        layers.append(read_layer(user, "user"))
    marks = [mark for layer in layers for mark in layer.marks]
    if (project := project_file(directory, marks)) is not None and not project.samefile(own):
        layers.append(read_layer(project, "project"))
    for file in filter(None, environment_files.split(os.pathsep)):
        layers.append(read_layer(_existing(Path(file).expanduser(), REGISTRY_VARIABLE), "environment"))
    names = [name.strip() for name in environment_disabled.split(",") if name.strip()]
    # A variable set once for many environments may name plugins that this one lacks.
    layers.append(disabling(names, f"environment ({DISABLE_VARIABLE})", strict=False))
    layers.extend(read_layer(_existing(file, "--registry"), "command line") for file in files)
    layers.append(disabling(disabled, "command line (--disable)", strict=True))
    return layers


def _shipped_layer(path: Path) -> Layer:
    from dataclasses import replace

    layer = read_layer(path, "shipped")
    plugins = {name: replace(entry, distribution="lipflow-core") for name, entry in layer.plugins.items()}
    return replace(layer, origin="shipped", plugins=plugins)


def _existing(path: Path, named_by: str) -> Path:
    if not path.is_file():
        raise PluginError(f"{named_by} names {path}, which is not a file", "correct or remove it")
    return path
