"""Finds the components and commands that a NAME on the command line means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipflow_core.cli.commands import OWN, clash, offers_of
from lipflow_core.errors import PluginError
from lipflow_core.hooks import KINDS, Command
from lipflow_core.spelling import choices, did_you_mean

if TYPE_CHECKING:
    from lipflow_core.registry import Registry
    from lipflow_core.registry.plugin import Offer


def chosen(registry: Registry, name: str, kind: str | None) -> list[Offer]:
    """Find the components and commands that are meant.

    Args:
        registry: Registry of the plugins.
        name: Name or alias of a component, a command, "KIND/NAME", or a plugin, which means everything that it offers.
        kind: Kind to which the search is limited, or "command"; all if None.

    Raises:
        PluginError: If there is none.
    """
    if "/" in name and kind is None:
        kind, name = name.split("/", 1)
        if kind not in (*KINDS, "command"):
            raise PluginError(f"there is no kind '{kind}'", choices(kind, (*KINDS, "command")))
    if kind == "command":
        return [_command(registry, name)]
    if kind is not None:
        return [registry.component(kind, name)]
    found, errors = [], []
    for each in (*KINDS, "command"):
        if _is_known(registry, each, name):
            try:
                found.append(_command(registry, name) if each == "command" else registry.component(each, name))
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
        return [offer for offer in (*registry.components(), *registry.commands()) if registry.plugin(offer) is plugin]
    known = {offer.name for offer in (*registry.components(), *registry.commands())} | set(registry.plugins)
    hints = [did_you_mean(name, sorted(known)) or "`lipflow-core plugins list` shows all", *registry.absent()]
    raise PluginError(f"there is no component, command or plugin '{name}'", "\n  ".join(hints))


def _is_known(registry: Registry, kind: str, name: str) -> bool:
    if any(refusal.offer.kind == kind and refusal.offer.name == name for refusal in registry.refusals):
        return True
    if kind == "command":
        return bool(offers_of(name, registry))
    bare = name.rpartition(":")[2]
    return name in registry.aliases[kind] or any(bare in (c.name, *c.aliases) for c in registry.components(kind))


def _command(registry: Registry, name: str) -> Command:
    offers = offers_of(name, registry)
    if len(offers) > 1:
        raise clash(name, offers)
    if offers and offers[0][1] is None:
        raise PluginError(f"command '{name}' is lipflow-core's own, not a plugin's", f"see: lipflow-core {name} --help")
    if offers:
        return offers[0][1]
    for refusal in registry.refusals:
        if refusal.offer.kind == "command" and refusal.offer.name == name:
            raise PluginError(refusal.reason, refusal.hint)
    known = [*OWN, *(command.name for command in registry.commands())]
    raise PluginError(f"there is no command '{name}'", choices(name, known))
