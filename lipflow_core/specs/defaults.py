"""What lies under the options that a user gives: a block's own defaults, and those of the active preset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from lipflow_core.parts import Config


def lay_defaults_under(config_class: type[Config], given: Mapping[str, Any], preset: str | None) -> dict[str, Any]:
    """Complete the options given to a block.

    - The preset's values stand where nothing was given.
    - Blocks that were not given are validated anew, so that they too take on the preset's sizes.
    - A slot's options given without a `type` belong to the component that stands there by default.
    - `{"0": …}` given for a list changes its entry 0.

    Args:
        config_class: The block's model.
        given: What was written for it.
        preset: The active preset's name, if any.
    """
    presets = config_class.presets.get(preset, {}) if preset else {}
    unknown = [name for name in presets if name not in config_class.model_fields]
    if unknown:
        raise TypeError(f"{config_class.__name__}.presets['{preset}'] sets '{unknown[0]}', which is no option of it")
    completed = {**presets, **given}
    for name, field in config_class.model_fields.items():
        default = presets[name] if name in presets else as_given(field.get_default())
        if name in given:
            if isinstance(given[name], bool) and field.annotation in (int, float):
                # pydantic would take true for 1; as a word it is refused in its place.
                completed[name] = str(given[name]).lower()
                continue
            completed[name] = _over(default, given[name], field, name)
        elif name in presets or _holds_blocks(default):
            completed[name] = default
    return completed


def as_given(value: Any) -> Any:
    """A validated block as the data that it was made from, so that it can be validated again under a preset."""
    from lipflow_core.parts import Config

    if isinstance(value, Config):
        return {name: as_given(getattr(value, name)) for name in value.model_fields_set}
    if isinstance(value, tuple | list):
        return [as_given(item) for item in value]
    return value


def _holds_blocks(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(item, Mapping) for item in value))


def _over(default: Any, given: Any, field: FieldInfo, name: str) -> Any:
    """What the user gave for one option, laid over its default."""
    if _is_slot(field):
        return _slot_over(default, given)
    if not isinstance(given, Mapping):
        return given
    if isinstance(default, list) and given and all(isinstance(key, str) and key.isdecimal() for key in given):
        return _entries_over(default, given, name)
    if isinstance(default, Mapping) and _is_block(field):
        return _merge(default, given)
    return given


def _slot_over(default: Any, given: Any) -> Any:
    under = {"type": default} if isinstance(default, str) else default
    over = {"type": given} if isinstance(given, str) else given
    if not isinstance(under, Mapping) or not isinstance(over, Mapping) or "same_as" in over:
        return given
    if over.get("type", under.get("type")) != under.get("type"):
        return given
    return _merge(under, over)


def _entries_over(default: Sequence[Any], given: Mapping[str, Any], name: str) -> list[Any]:
    entries = list(default)
    for key, value in given.items():
        if int(key) >= len(entries):
            count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
            raise PydanticCustomError(
                "list_position",
                "'{name}' has {count}, counted from 0, so there is none at {position}",
                {"name": name, "count": count, "position": int(key)},
            )
        under = entries[int(key)]
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        entries[int(key)] = _merge(under, value) if both else value
    return entries


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**under, **over}
    for name in under.keys() & over.keys():
        inner, outer = under[name], over[name]
        if isinstance(inner, Mapping) and isinstance(outer, Mapping):
            same = "type" not in outer or outer["type"] == inner.get("type")
            merged[name] = _merge(inner, outer) if same else outer
    return merged


def _is_slot(field: FieldInfo) -> bool:
    from lipflow_core.parts import SlotOf

    return any(isinstance(item, SlotOf) for item in [*field.metadata, *_arguments(field.annotation)])


def _is_block(field: FieldInfo) -> bool:
    from lipflow_core.parts import Config

    kinds = [field.annotation, *_arguments(field.annotation)]
    return any(isinstance(kind, type) and issubclass(kind, Config) for kind in kinds)


def _arguments(annotation: Any) -> list[Any]:
    """Everything named inside a type such as `Annotated[Part, SlotOf("flow")] | None`."""
    found = []
    for argument in get_args(annotation):
        found += [argument, *_arguments(argument)]
    return found
