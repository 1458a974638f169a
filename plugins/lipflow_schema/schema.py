"""Makes the JSON Schema of specs, with the components and options of every enabled plugin, for editors.

The schema accepts partial specs, since overrides and presets may complete them, and `presets:` whose keys are option
paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lipflow_core.errors import PluginError
from lipflow_core.hooks import KINDS, Kind
from lipflow_core.registry import Registry, default_registry
from lipflow_core.specs.model import PRESETS, Spec

if TYPE_CHECKING:
    from lipflow_core.config import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def spec_schema(registry: Registry | None = None) -> dict[str, Any]:
    """Make the JSON Schema of specs.

    Args:
        registry: Registry whose components are listed; the default registry if None.

    Example:
        >>> spec_schema()["properties"]["flow"]["anyOf"][0]
        {'$ref': '#/$defs/slot:flow'}
    """
    registry = registry or default_registry()
    definitions: dict[str, Any] = {}
    root = _model_schema(Spec, "spec:", definitions)
    for kind in KINDS:
        definitions[f"slot:{kind}"] = _slot_schema(kind, registry, definitions)
    partial = {name: schema for name, schema in root["properties"].items() if name not in ("version", "preset")}
    root["properties"]["presets"] = {
        "description": "Values of options that differ at each preset. Keys are options or their dotted paths; the "
        "active preset's values replace those in the rest of the file.",
        "type": "object",
        "properties": {preset: {"$ref": "#/$defs/preset"} for preset in PRESETS},
        "additionalProperties": False,
    }
    definitions["preset"] = {
        "type": "object",
        "properties": partial,
        "patternProperties": {rf"^({'|'.join(partial)})\..": {}},
        "additionalProperties": False,
    }
    return {"$schema": DIALECT, "title": "lipflow-core spec", **root, "$defs": dict(sorted(definitions.items()))}


def _model_schema(model: type[Config], prefix: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Make a model's schema, and move its definitions to the common ones under names that begin with `prefix`."""
    schema = model.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    for name, definition in schema.pop("$defs", {}).items():
        definitions[prefix + name] = _completed(definition)
    return _completed(schema)


def _completed(schema: Any) -> Any:
    """Fill in the slots of a schema, and drop titles and `required`."""
    if isinstance(schema, list):
        return [_completed(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "x-lipflow-slot" in schema:
        rest = {key: value for key, value in schema.items() if key in ("description", "default")}
        slot = {"$ref": f"#/$defs/slot:{schema['x-lipflow-slot']}"}
        shared = [_completed(item) for item in schema.get("anyOf", ())]
        return {"anyOf": [slot, *shared], **rest} if shared else {**slot, **rest}
    properties = schema.get("properties")
    completed = {key: _completed(value) for key, value in schema.items() if key not in ("title", "required")}
    if isinstance(properties, Mapping):  # an option may itself be called "title"
        completed["properties"] = {name: _completed(value) for name, value in properties.items()}
    return completed


def _slot_schema(kind: Kind, registry: Registry, definitions: dict[str, Any]) -> dict[str, Any]:
    names: list[str] = []
    choices: list[dict[str, Any]] = []
    for component in registry.components(kind):
        try:
            config_class = registry.load_config(component)
        except PluginError:
            continue  # `plugins list` tells why it is broken
        spelling = registry.spelling(component)
        known = [spelling, *component.aliases]
        aliases = registry.aliases[kind].items()
        known += [alias for alias, (target, _) in aliases if target in (spelling, component.name)]
        schema = _model_schema(config_class, f"{kind}:{spelling}:", definitions)
        type_schema = {"const": spelling} if len(known) == 1 else {"enum": known}
        definitions[f"{kind}:{spelling}"] = {
            **schema,
            "description": component.summary,
            "properties": {"type": type_schema, **schema.get("properties", {})},
        }
        choices.append({"$ref": f"#/$defs/{kind}:{spelling}"})
        names += known
    return {
        "description": f"Name of a component of kind '{kind}', or a mapping with its type and options.",
        "anyOf": [{"enum": names}, *choices],
    }
