"""Defines the base of every component's options and of every block of a spec. Imports pydantic, not torch.

An option is a field with a type, a default and a docstring of its own, the string below it:

    class LaplaceConfig(Config):
        "Options of prior `laplace`."

        scale: PositiveFloat = 1.0
        "Scale of the density in each dimension."
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from lipflow_core.plans import Plan

Size = Annotated[int, Field(gt=0, le=2**16)]
"""Number of units or channels of a layer. Bounded, since a stranger's spec must not ask for any amount of memory."""
Depth = Annotated[int, Field(gt=0, le=2**10)]
"""Number of layers or blocks, bounded like `Size`."""
WidthFactor = Annotated[float, Field(gt=0, le=64)]
"""Factor on numbers of channels, bounded like `Size`."""


LARGEST = 1e30
"""Largest magnitude of an option that is a number. Single precision ends at 3e38, and such numbers are multiplied."""


class SlotMarker:
    """Marks a field that takes a component; its only subclass is `lipflow_core.parts.SlotOf`."""


class Deferred(ABC):
    """A default that is resolved when a block is validated; pass it to a field as `default_factory`."""

    @abstractmethod
    def resolve(self, context: Mapping[str, Any] | None) -> Any:
        """Return the default as plain data, for the context of a validation."""

    def __call__(self) -> Any:
        return self.resolve(None)


def _first_paragraph_only(schema: dict[str, Any], config_class: type[Config]) -> None:
    schema["description"] = summary(config_class)


class Config(BaseModel):
    """Base of every component's options and of every block of a spec.

    Unknown options are errors. Defaults are the paper's values. A field's docstring, the string below it, documents the
    option in the JSON Schema and in `plugins info`.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
        json_schema_extra=_first_paragraph_only,
    )

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Preset's name → option → default at that preset. Values that the user gives win."""

    @model_validator(mode="before")
    @classmethod
    def _lay_defaults_under(cls, data: Any, info: ValidationInfo) -> Any:
        return lay_defaults_under(cls, data, info.context) if isinstance(data, Mapping) else data

    @field_validator("*")
    @classmethod
    def _refuse_what_single_precision_lacks(cls, value: Any) -> Any:
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and abs(number) > LARGEST:
                raise PydanticCustomError(
                    "too_large",
                    "should be within ±{largest}, since models compute in single precision; got {number}",
                    {"largest": f"{LARGEST:g}", "number": f"{number:g}"},
                )
        return value

    def plan(self, given: Any) -> Plan:
        """Plan the component for these inputs, without building it.

        Args:
            given: Inputs of the component's kind, from `lipflow_core.plans`.

        Raises:
            lipflow_core.plans.Mismatch: If the component can't be built from these inputs.
        """
        raise NotImplementedError(f"{type(self).__name__} must define plan()")


class Ramp(Config):
    """A weight that changes linearly over the first steps of a stage."""

    start: NonNegativeFloat
    """Weight at step 0."""
    end: NonNegativeFloat
    """Weight from step `steps` on."""
    steps: PositiveInt
    """Number of steps over which the weight changes."""

    def at(self, step: int) -> float:
        """Return the weight at a step."""
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)


class ObjectiveConfig(Config):
    """Base of the options of every objective."""

    weight: NonNegativeFloat | Ramp = 1.0
    """Factor on the loss. In training it may be a ramp `{start, end, steps}`."""

    def weight_at(self, step: int) -> float:
        """Return the weight at a step of a stage or a fit."""
        return self.weight.at(step) if isinstance(self.weight, Ramp) else self.weight

    @property
    def final_weight(self) -> float:
        """Weight after the ramp, if it is one."""
        return self.weight.end if isinstance(self.weight, Ramp) else self.weight


class TemporalConfig(Config):
    """Base of the options of every temporal prior."""

    weight: NonNegativeFloat = 0.05
    """Factor on the negative log-density of each run of consecutive frames, in nats per dimension of the code."""


class MetricConfig(Config):
    """Base of the options of every metric; its class variables define how tables and reports show the values."""

    heading: ClassVar[str]
    """Column heading in tables, such as "PSNR"."""
    unit: ClassVar[str] = ""
    """Unit of the values, such as "dB"; empty if they have none."""
    digits: ClassVar[int] = 2
    """Decimal places that tables print."""
    higher_is_better: ClassVar[bool] = False
    """Whether larger values are better."""
    definition: ClassVar[str]
    """Exact definition of the metric in one or two sentences, printed in reports."""


def summary(documented: object) -> str:
    """Return the first paragraph of an object's docstring in one line; empty if it has none."""
    text = inspect.cleandoc(getattr(documented, "__doc__", None) or "")
    return " ".join(text.partition("\n\n")[0].split())


def lay_defaults_under(
    config_class: type[Config], given: Mapping[str, Any], context: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Complete the options given to a block by its defaults.

    - The preset's value is used for an option that was not given.
    - Blocks that were not given are validated again, so that they too take the preset's sizes.
    - Options of a slot without a `type` belong to the slot's default component.
    - `{"0": …}` given for a list changes its entry 0; `{"divergence": …}` changes its entry of that `type`.

    Args:
        config_class: Model of the block.
        given: Options that the user wrote.
        context: Context of the validation; "preset" holds the active preset's name, "registry" the registry.
    """
    preset = (context or {}).get("preset")
    presets = config_class.presets.get(preset, {}) if preset else {}
    unknown = [name for name in presets if name not in config_class.model_fields]
    if unknown:
        raise TypeError(f"{config_class.__name__}.presets['{preset}'] sets '{unknown[0]}', which it has no option for")
    completed = {**presets, **given}
    for name, field in config_class.model_fields.items():
        deferred = field.default_factory if isinstance(field.default_factory, Deferred) else None
        if name in presets:
            default = presets[name]
        else:
            default = as_given(field.get_default()) if deferred is None else deferred.resolve(context)
        if name in given:
            completed[name] = _over(default, _without_booleans(given[name], field), field, name)
        elif name in presets or deferred is not None or _holds_blocks(default):
            completed[name] = default
    return completed


def _without_booleans(value: Any, field: FieldInfo) -> Any:
    """Turn true and false into words for fields that are not boolean: pydantic would read them as 1 and 0."""
    if bool in types_in(field.annotation):
        return value
    # Values inside a block or a component are checked by its own fields.
    nested = _is_slot(field) or _is_block(field)
    return value if nested and not isinstance(value, bool) else _spelled(value)


def _spelled(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    return value


def as_given(value: Any) -> Any:
    """Turn a validated block back into the data given for it, so that it can be validated again under a preset."""
    if isinstance(value, Config):
        return {name: as_given(getattr(value, name)) for name in value.model_fields_set}
    if isinstance(value, tuple | list):
        return [as_given(item) for item in value]
    return value


def _holds_blocks(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(item, Mapping) for item in value))


def _over(default: Any, given: Any, field: FieldInfo, name: str) -> Any:
    """Merge what the user gave for one option into its default."""
    if isinstance(default, list):
        entries = isinstance(given, Mapping) and given and "type" not in given
        return _entries_over(default, given, name) if entries else given
    if _is_slot(field):
        return _slot_over(default, given)
    if not isinstance(given, Mapping):
        return given
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
        try:
            position = entry_position(entries, key, name)
        except LookupError as error:
            raise PydanticCustomError("list_position", "{reason}", {"reason": str(error.args[0])}) from None
        entries[position] = _slot_over(entries[position], value)
    return entries


def entry_position(entries: Sequence[Any], key: str | int, name: str) -> int:
    """Find an entry of a list by its position, or in a list of components by its `type`.

    Args:
        entries: Entries of the list, as plain data.
        key: Position such as 0 or "0", or a type such as "divergence".
        name: Name of the list in messages.

    Raises:
        LookupError: If no entry matches, or several are of that type.
    """
    if str(key).isdecimal():
        if int(key) < len(entries):
            return int(key)
        count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
        raise LookupError(f"'{name}' has {count}; position {key} does not exist (positions count from 0)")
    types = [entry.get("type") if isinstance(entry, Mapping) else entry for entry in entries]
    found = [position for position, kind in enumerate(types) if kind == key]
    if len(found) == 1:
        return found[0]
    named = [kind for kind in types if isinstance(kind, str)]
    if found:
        raise LookupError(f"'{name}' has {len(found)} entries of type '{key}'; give a position instead: {found}")
    if named:
        raise LookupError(f"'{name}' has no entry of type '{key}'; give one of {', '.join(named)}, or a position")
    raise LookupError(f"'{name}' is a list: '{key}' must be a position in it, counted from 0")


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**under, **over}
    for name in under.keys() & over.keys():
        inner, outer = under[name], over[name]
        if isinstance(inner, Mapping) and isinstance(outer, Mapping):
            same = "type" not in outer or outer["type"] == inner.get("type")
            merged[name] = _merge(inner, outer) if same else outer
    return merged


def _is_slot(field: FieldInfo) -> bool:
    return any(isinstance(item, SlotMarker) for item in (*field.metadata, *types_in(field.annotation)))


def _is_block(field: FieldInfo) -> bool:
    return block_in(field.annotation) is not None


def block_in(annotation: Any) -> type[Config] | None:
    """Find the first Config in a type such as `Grid | None` or `tuple[Stage, ...]`; None if there is none."""
    types = (kind for kind in types_in(annotation) if isinstance(kind, type) and get_origin(kind) is None)
    return next((kind for kind in types if issubclass(kind, Config)), None)


def types_in(annotation: Any) -> list[Any]:
    """List a type such as `Annotated[Part, SlotOf("flow")] | None` and all its arguments, nested ones included."""
    found = [annotation]
    for argument in get_args(annotation):
        found += types_in(argument)
    return found
