"""What a plugin offers, and whether it is admitted: sound descriptors, written for this plugin API."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pluggy

from lipflow_core.errors import PluginError
from lipflow_core.hooks import API_VERSION, KINDS, Component
from lipflow_core.registry.discovery import localise
from lipflow_core.registry.plugin import Plugin

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, eq=False)
class Refusal:
    """A component that was found but can't be used, and why."""

    plugin: Plugin
    component: Component
    reason: str
    hint: str


def offered(manager: pluggy.PluginManager, name: str) -> Iterable[Component]:
    """What one plugin's hook yields. Called plugin by plugin, so that one that raises leaves the others whole."""
    others = [plugin for other, plugin in manager.list_name_plugin() if other != name and plugin is not None]
    results = manager.subset_hook_caller("lipflow_components", others)()
    for component in (component for result in results for component in result):
        if not isinstance(component, Component):
            raise PluginError(f"lipflow_components() yielded {component!r}, not a lipflow_core.hooks.Component")
        _check(component)
        yield component


def _check(component: Component) -> None:
    if component.kind not in KINDS:
        raise PluginError(f"component '{component.name}' is of unknown kind '{component.kind}'")
    if not _NAME.fullmatch(component.name):
        raise PluginError(f"{component.kind} name '{component.name}' must be lower case letters, digits and hyphens")
    for path in (component.implementation, component.config):
        if not _IMPORT_PATH.fullmatch(path):
            raise PluginError(f"{component.kind} '{component.name}': '{path}' is not of the form package.module:Class")


def absolute(component: Component, package: str | None) -> Component:
    if package is None:
        return component
    return replace(
        component,
        implementation=localise(component.implementation, package),
        config=localise(component.config, package),
    )


def refusal_of(plugin: Plugin, component: Component) -> Refusal | None:
    """The handshake: a component runs on the API's major that it was written for, with its minor or a later one."""
    major, minor = component.api
    if (major, minor) == API_VERSION or (major == API_VERSION[0] and minor <= API_VERSION[1]):
        return None
    ours = f"{API_VERSION[0]}.{API_VERSION[1]}"
    newer = (major, minor) > API_VERSION
    reason = (
        f"{component.kind} '{component.name}' ({plugin.distribution}) is for plugin API {major}.{minor}, "
        f"which is {'newer' if newer else 'older'} than this lipflow-core's {ours}"
    )
    cure = (
        "upgrade lipflow-core: pip install --upgrade lipflow-core"
        if newer
        else f"upgrade {plugin.distribution}, or ask its author for a version for plugin API {API_VERSION[0]}.x"
    )
    return Refusal(plugin, component, reason, cure)
