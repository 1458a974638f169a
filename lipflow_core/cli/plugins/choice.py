"""Which components a NAME on the command line means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipflow_core.errors import PluginError
from lipflow_core.hooks import KINDS, Component
from lipflow_core.spelling import choices

if TYPE_CHECKING:
    from lipflow_core.registry import Registry


def chosen(registry: Registry, name: str, kind: str | None) -> list[Component]:
    """The components that are meant.

    Args:
        registry: Where to look.
        name: A component's name or alias, "KIND/NAME", or the name of a plugin, which means all of its components.
        kind: Only of this kind.

    Raises:
        PluginError: If there is none.
    """
    if "/" in name and kind is None:
        kind, name = name.split("/", 1)
        if kind not in KINDS:
            raise PluginError(f"there is no kind '{kind}'", choices(kind, KINDS))
    if kind is not None:
        return [registry.component(kind, name)]
    found, errors = [], []
    for each in KINDS:
        known = name.rpartition(":")[2] in {n for c in registry.components(each) for n in (c.name, *c.aliases)}
        refused = any(r.component.kind == each and r.component.name == name for r in registry.refusals)
        if known or refused or name in registry.aliases[each]:
            try:
                found.append(registry.component(each, name))
            except PluginError as error:
                errors.append(error)
    if found or errors:
        if not found:
            raise errors[0]
        return found
    if name in registry.plugins:
        plugin = registry.plugins[name]
        if plugin.status == "broken":
            raise PluginError(f"plugin '{name}' ({plugin.source}) fails to load: {plugin.cause}")
        if plugin.status == "disabled":
            raise PluginError(f"plugin '{name}' is switched off by {plugin.origin}")
        return [c for c in registry.components() if registry.plugin(c) is plugin]
    everything = {c.name for c in registry.components()} | set(registry.plugins)
    raise PluginError(f"there is no component or plugin '{name}'", choices(name, sorted(everything)))
