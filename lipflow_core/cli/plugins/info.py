"""`lipflow-core plugins info NAME`: a component's descriptor, options and presets. Imports no torch."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

from lipflow_core.cli.plugins.choice import chosen
from lipflow_core.config import summary
from lipflow_core.hooks import Component
from lipflow_core.registry import Registry, default_registry


def run(args: argparse.Namespace) -> int:
    """Print every component of that name."""
    registry = default_registry()
    found = [describe(registry, component) for component in chosen(registry, args.name, args.kind)]
    if args.json:
        import json

        print(json.dumps(found, indent=2))
    else:
        print("\n\n".join(_text(item) for item in found))
    return 0


def describe(registry: Registry, component: Component) -> dict[str, Any]:
    """A component as data."""
    config = registry.load_config(component)
    plugin = registry.plugin(component)
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
        "kind": component.kind,
        "name": component.name,
        "summary": component.summary,
        "help": summary(config),
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "source": plugin.source,
        "origin": plugin.origin,
        "api": list(component.api),
        "implementation": component.implementation,
        "config": component.config,
        "capabilities": sorted(component.capabilities),
        "aliases": list(component.aliases),
        "deprecated": component.deprecated,
        "requires": list(component.requires),
        "missing": list(registry.missing(component)),
        "install": component.install,
        "options": options,
        "presets": {preset: dict(values) for preset, values in config.presets.items()},
    }


def type_name(annotation: Any, metadata: Any = ()) -> str:
    """A type as a reader of specs needs it: "number > 0", "one of: a, b", "coupling"."""
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
        "class": item["implementation"],
        "options": item["config"],
        "capabilities": ", ".join(item["capabilities"]),
        "aliases": ", ".join(item["aliases"]),
        "deprecated": item["deprecated"],
        "requires": ", ".join(item["requires"]),
    }
    if item["missing"]:
        cure = f"; install with: {item['install']}" if item["install"] else ""
        facts["not installed"] = ", ".join(item["missing"]) + cure
    lines += [f"  {name + ':':<14}{value}" for name, value in facts.items() if value]
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
