"""Slots, pydantic types by which a Config or spec names a component, and the parts that fill them.

A Config declares a slot with the kind's type, `coupling: CouplingSlot = "additive"`. In YAML a slot is a component's
name or a mapping with `type:` and that component's options. Validation turns it into a `Part`, which holds the
component and its options and can plan and build it. Imports pydantic, not torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import PydanticCustomError, core_schema

from lipflow_core.config import Config, Deferred, SlotMarker
from lipflow_core.errors import PluginError
from lipflow_core.hooks import Component, Kind
from lipflow_core.plans import Plan
from lipflow_core.registry import Registry, default_registry, load_object


@dataclass(frozen=True)
class Part:
    """A filled slot: a component with its validated options.

    Attributes:
        kind: Kind of the component.
        component: Descriptor of the component.
        distribution: Name of the distribution that provides it.
        config: Validated options.
        spelling: Unambiguous name for specs: the component's name, or "DISTRIBUTION:NAME" if two components share it.
    """

    kind: Kind
    component: Component
    distribution: str
    config: Config
    spelling: str | None = None

    @property
    def name(self) -> str:
        return self.component.name

    def plan(self, given: Any) -> Plan:
        """Plan the component without building it. Raises `lipflow_core.plans.Mismatch`."""
        return self.config.plan(given)

    def build(self, given: Any) -> Any:
        """Import the implementation and construct it: `Implementation(config, given)`."""
        implementation = load_object(self.component.implementation, self.component)
        return implementation(self.config, given)

    def as_data(self) -> dict[str, Any]:
        """Return the slot as plain data for a resolved spec: `type` first, then every option."""
        return {"type": self.spelling or self.name, **self.config.model_dump(mode="json")}


@dataclass(frozen=True)
class SlotOf(SlotMarker):
    """Marks a field as a slot for components of one kind; use the aliases below."""

    kind: Kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self._as_data),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"x-lipflow-slot": self.kind}  # the command `schema` replaces it by the registry's components

    @property
    def _a_kind(self) -> str:
        return f"{'an' if self.kind[0] in 'aeiou' else 'a'} {self.kind}"

    def _as_data(self, value: Any) -> Any:
        return value.as_data()

    def _validate(self, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, Part):
            if value.kind != self.kind:
                raise _error("slot_kind", f"expected {self._a_kind}, got the {value.kind} '{value.name}'")
            return value
        registry = _registry(info.context)
        if isinstance(value, str):
            name, options = value, {}
        elif isinstance(value, Mapping):
            options = dict(value)
            name = options.pop("type", None)
            if not isinstance(name, str):
                names = ", ".join(registry.names(self.kind))
                raise _error("slot_type", f"{self._a_kind} slot needs 'type:', one of: {names}")
        else:
            raise _error("slot_value", f"expected the name of {self._a_kind} or a mapping with 'type:'")
        try:
            component = registry.component(self.kind, name)
            config_class = registry.load_config(component)
        except PluginError as error:
            raise PydanticCustomError("component", "{error}", {"error": error}) from error
        config = config_class.model_validate(options, context=info.context)
        return Part(self.kind, component, registry.distribution(component), config, registry.spelling(component))


class SameAs(Config):
    """Fills a slot with the component of another slot, so that the two share their weights."""

    same_as: Literal["driving"]
    """Slot whose component is used here too; both slots then share one component and its weights."""


@dataclass(frozen=True)
class SharedSlotOf(SlotOf):
    """A slot that may also name another slot whose component it shares."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        shared = {"type": "object", "properties": {"same_as": {"enum": ["driving"]}}, "additionalProperties": False}
        return {**super().__get_pydantic_json_schema__(schema, handler), "anyOf": [shared]}

    def _as_data(self, value: Part | SameAs) -> Any:
        return value.model_dump() if isinstance(value, SameAs) else value.as_data()

    def _validate(self, value: Any, info: ValidationInfo) -> Part | SameAs:
        if isinstance(value, SameAs):
            return value
        if isinstance(value, Mapping) and "same_as" in value:
            return SameAs.model_validate(value, context=info.context)
        return super()._validate(value, info)


def _error(kind: str, message: str) -> PydanticCustomError:
    return PydanticCustomError(kind, "{message}", {"message": message})


def _registry(context: Mapping[str, Any] | None) -> Registry:
    registry = (context or {}).get("registry")
    return default_registry() if registry is None else registry


@dataclass(frozen=True)
class RegistryDefault(Deferred):
    """Default of an option that names components, read from a key of `[defaults]` in registry.toml.

    The core names no component; a field uses `Field(default_factory=RegistryDefault("renderer"))` instead.
    """

    key: str

    def resolve(self, context: Mapping[str, Any] | None) -> Any:
        return _registry(context).default(self.key)


CaptureSlot = Annotated[Part, SlotOf("capture")]
EncoderSlot = Annotated[Part, SlotOf("encoder")]
PriorSlot = Annotated[Part, SlotOf("prior")]
FlowSlot = Annotated[Part, SlotOf("flow")]
CouplingSlot = Annotated[Part, SlotOf("coupling")]
DecoderSlot = Annotated[Part, SlotOf("decoder")]
RendererSlot = Annotated[Part, SlotOf("renderer")]
ObjectiveSlot = Annotated[Part, SlotOf("objective")]
OptimizerSlot = Annotated[Part, SlotOf("optimizer")]
TemporalSlot = Annotated[Part, SlotOf("temporal")]
MetricSlot = Annotated[Part, SlotOf("metric")]
