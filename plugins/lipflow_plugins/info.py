"""`lipflow-core plugins info NAME`: explain components, with their options and presets, and commands.

Imports no torch and no command.
"""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from lipflow_core.config import summary
from lipflow_core.hooks import Command, Component
from lipflow_core.registry import Registry, default_registry
from lipflow_core.registry.plugin import Offer
from lipflow_core.tables import printable
from lipflow_plugins.choice import chosen


def run(args: argparse.Namespace) -> int:
    """Print every component and command of that name."""
    registry = default_registry()
    found = [describe(registry, offer) for offer in chosen(registry, args.name, args.kind)]
    if args.json:
        import json

        print(json.dumps(found, indent=2))
    else:
        print(printable("\n\n".join(_text(item) for item in found)))
    return 0


def describe(registry: Registry, offer: Offer) -> dict[str, Any]:
    """Describe a component or command as data.

    Raises:
        PluginError: If a component's Config can't be imported.
    """
    plugin = registry.plugin(offer)
    said = {
        "kind": offer.kind,
        "name": offer.name,
        "summary": offer.summary,
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "source": plugin.source,
        "origin": plugin.origin,
        "api": list(offer.api),
        "requires": list(offer.requires),
        "missing": list(registry.missing(offer)),
        "install": offer.install,
    }
    return said | ({"module": offer.module} if isinstance(offer, Command) else _component(registry, offer))


def _component(registry: Registry, component: Component) -> dict[str, Any]:
    config = registry.load_config(component)
    options = [
        {
            "name": name,
            "type": type_name(field.annotation, field.metadata),
            "default": None if field.is_required() else _plain(field.get_default(call_default_factory=True)),
            "required": field.is_required(),
            "help": field.description or "",
        }
        for name, field in config.model_fields.items()
    ]
    return {
        "help": summary(config),
        "implementation": component.implementation,
        "config": component.config,
        "capabilities": sorted(component.capabilities),
        "aliases": list(component.aliases),
        "deprecated": component.deprecated,
        "options": options,
        "presets": {preset: dict(values) for preset, values in config.presets.items()},
    }


def type_name(annotation: Any, metadata: Any = ()) -> str:
    """Write a type as a reader of specs needs it: "number > 0", "one of: a, b", "coupling"."""
    import types
    import typing

    from lipflow_core.parts import SlotOf

    bounds = [item for item in metadata if any(getattr(item, name, None) is not None for name in _BOUNDS)]
    for item in metadata:
        if isinstance(item, SlotOf):
            return item.kind
    origin, parameters = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(parameters[0], (*parameters[1:], *metadata))
    if origin is typing.Literal:
        return f"one of: {', '.join(map(str, parameters))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(p) for p in parameters)
    if origin in (tuple, list):
        return f"list of {type_name(parameters[0])}"
    name = _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))
    limits = [f"{sign} {getattr(b, a)}" for b in bounds for a, sign in _BOUNDS.items() if hasattr(b, a)]
    return " ".join([name, ", ".join(limits)]).strip()


_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
_NAMES = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}


def _plain(value: Any) -> Any:
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple | frozenset) else value


def _text(item: dict[str, Any]) -> str:
    lines = [f"{item['kind']} '{item['name']}': {item['summary']}"]
    facts = {
        "plugin": f"{item['plugin']} ({item['source']}), decided by: {item['origin']}",
        "distribution": f"{item['distribution']} {item['version']}",
        "plugin API": ".".join(map(str, item["api"])),
        "module": item.get("module"),
        "class": item.get("implementation"),
        "options": item.get("config"),
        "capabilities": ", ".join(item.get("capabilities", ())),
        "aliases": ", ".join(item.get("aliases", ())),
        "deprecated": item.get("deprecated"),
        "requires": ", ".join(item["requires"]),
    }
    if item["missing"]:
        cure = f"; install with: {item['install']}" if item["install"] else ""
        facts["not installed"] = ", ".join(item["missing"]) + cure
    lines += [f"  {name + ':':<14}{value}" for name, value in facts.items() if value]
    if item["kind"] == "command":
        return "\n".join([*lines, "", f"  Its arguments: lipflow-core {item['name']} --help"])
    lines += ["", "  options:" if item["options"] else "  It has no options."]
    for option in item["options"]:
        default = "required" if option["required"] else f"default {_spell(option['default'])}"
        at_presets = [
            f"{preset} {_spell(values[option['name']])}"
            for preset, values in item["presets"].items()
            if option["name"] in values
        ]
        lines.append(f"    {option['name']}: {option['type']}; {'; '.join([default, *at_presets])}")
        lines += textwrap.wrap(option["help"], 96, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines)


def _spell(value: Any) -> str:
    import json

    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)
