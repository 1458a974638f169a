"""Collects a plugin's descriptors and admits those that are valid and written for this plugin API."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import pluggy

from lipflow_core.errors import PluginError
from lipflow_core.hooks import API_VERSION, KINDS, Command, Component
from lipflow_core.registry.discovery import localise
from lipflow_core.registry.plugin import Offer, Plugin

HOOKS = {"lipflow_components": Component, "lipflow_commands": Command}
"""Name of each hook → the descriptors that it yields."""

_WORDS = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"


def _text(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _texts(value: Any) -> bool:
    return isinstance(value, tuple | frozenset) and all(isinstance(item, str) for item in value)


def _optional_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


_SOUND: dict[str, tuple[Callable[[Any], bool], str]] = {
    "kind": (KINDS.__contains__, f"must be one of: {', '.join(KINDS)}"),
    "name": (_text(r"[a-z0-9]+(-[a-z0-9]+)*"), "must be lower case letters, digits and hyphens"),
    "implementation": (_text(f"{_WORDS}:{_WORDS}"), "must be of the form package.module:Class"),
    "config": (_text(f"{_WORDS}:{_WORDS}"), "must be of the form package.module:Class"),
    "module": (_text(_WORDS), "must be of the form package.module"),
    "summary": (_text(r".+"), "must be one line of text"),
    "api": (
        lambda api: isinstance(api, tuple) and len(api) == 2 and all(type(number) is int for number in api),
        "must be a pair of whole numbers, (major, minor)",
    ),
    "capabilities": (_texts, "must be a frozenset of texts"),
    "aliases": (_texts, "must be a tuple of texts"),
    "requires": (_texts, "must be a tuple of texts"),
    "deprecated": (_optional_text, "must be a text or None"),
    "install": (_optional_text, "must be a text or None"),
}
"""Field of a descriptor → whether a value is sound, and what is said if not."""


@dataclass(frozen=True, eq=False)
class Refusal:
    """A component or command that was found but can't be used, and why."""

    plugin: Plugin
    offer: Offer
    reason: str
    hint: str


def offered(manager: pluggy.PluginManager, name: str) -> Iterator[Offer]:
    """Yield what one plugin's hooks yield. Called plugin by plugin, so that one that raises leaves the others whole.

    Raises:
        PluginError: If the plugin implements neither hook, or a descriptor is not sound.
        Exception: Whatever the hooks raise.
    """
    if not manager.get_hookcallers(manager.get_plugin(name)):
        raise PluginError(f"it has no @hookimpl {'() and no @hookimpl '.join(HOOKS)}()")
    others = [plugin for other, plugin in manager.list_name_plugin() if other != name and plugin is not None]
    for hook, descriptor in HOOKS.items():
        results = manager.subset_hook_caller(hook, others)()
        for offer in (offer for result in results for offer in result):
            if not isinstance(offer, descriptor):
                raise PluginError(f"{hook}() yielded {offer!r}, not a lipflow_core.hooks.{descriptor.__name__}")
            check_descriptor(offer)
            yield offer


def check_descriptor(offer: Offer) -> None:
    """Raise a PluginError that names the field unless every field of a descriptor is sound."""
    for field in fields(offer):
        value = getattr(offer, field.name)
        sound, wanted = _SOUND[field.name]
        if not sound(value):
            raise PluginError(f"{offer.kind} {offer.name!r}: {field.name} {wanted}, got {value!r}")


def absolute(offer: Offer, package: str | None) -> Offer:
    """Write a descriptor's import paths as importlib understands them.

    Args:
        offer: The descriptor.
        package: The package that stands for the folder of a plugin given by path; None for an ordinary module.
    """
    if package is None:
        return offer
    paths = ("module",) if isinstance(offer, Command) else ("implementation", "config")
    return replace(offer, **{name: localise(getattr(offer, name), package) for name in paths})


def refusal_of(plugin: Plugin, offer: Offer) -> Refusal | None:
    """Shake hands: a descriptor is taken by the API's major that it was written for, with its minor or a later one."""
    major, minor = offer.api
    if major == API_VERSION[0] and minor <= API_VERSION[1]:
        return None
    ours = f"{API_VERSION[0]}.{API_VERSION[1]}"
    newer = (major, minor) > API_VERSION
    reason = (
        f"{offer.kind} '{offer.name}' ({plugin.distribution}) is for plugin API {major}.{minor}, "
        f"which is {'newer' if newer else 'older'} than this lipflow-core's {ours}"
    )
    cure = (
        "upgrade lipflow-core: pip install --upgrade lipflow-core"
        if newer
        else f"upgrade {plugin.distribution}, or ask its author for a version for plugin API {API_VERSION[0]}.x"
    )
    return Refusal(plugin, offer, reason, cure)
