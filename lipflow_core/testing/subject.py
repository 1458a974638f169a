"""Defines the subjects that the conformance kit examines, and its checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import torch
from pydantic import TypeAdapter
from torch import Tensor

from lipflow_core.errors import PluginError
from lipflow_core.hooks import Component, Kind
from lipflow_core.parts import CaptureSlot, Part, SlotOf
from lipflow_core.plans import Plan
from lipflow_core.registry import Registry, default_registry
from lipflow_core.testing.world import World, captured, spherical


@dataclass(frozen=True)
class Subject:
    """Holds a component with its options, and the inputs and world that the kit examines it with.

    Args:
        part: Component with its options.
        given: Inputs of its kind that it is planned and built with.
        world: World that it observes.
        registry: Registry that nested components are looked up in.
    """

    part: Part
    given: Any
    world: World
    registry: Registry

    @classmethod
    def of(
        cls,
        kind: Kind,
        name: str,
        options: Mapping[str, Any] | None = None,
        *,
        preset: str = "tiny",
        given: Any = None,
        capture: str | Mapping[str, Any] | Part | None = None,
        registry: Registry | None = None,
    ) -> Self:
        """Choose a component by name, and the inputs and world that it is examined with.

        Args:
            kind: Kind of the component.
            name: Name of the component.
            options: Options of the component; they override those of the preset.
            preset: Preset whose defaults apply.
            given: Inputs to build it for; the world chooses them if None.
            capture: Capture whose frames the component sees: a name, a mapping with `type` and options, or a part. If
                None, it sees the kit's own world, a spherical head.
            registry: Registry that the component is looked up in; the default registry if None.

        Raises:
            lipflow_core.errors.PluginError: If there is no such component, or its Config can't be imported.
            lipflow_core.plans.Mismatch: If its plan refuses every input that the world has for its kind.
        """
        registry = registry or default_registry()
        registry.load_config(find_component(kind, name, registry))  # pydantic would wrap what is wrong
        slot, context = TypeAdapter(Annotated[Part, SlotOf(kind)]), {"registry": registry, "preset": preset}
        part = slot.validate_python({"type": name, **(options or {})}, context=context)
        world = spherical(registry)
        if capture is not None:
            world = captured(TypeAdapter(CaptureSlot).validate_python(capture, context=context))
        return cls(part, world.given(part, registry) if given is None else given, world, registry)

    def with_given(self, **changes: Any) -> Self:
        """Copy the subject with other inputs, such as another size of the code."""
        return replace(self, given=replace(self.given, **changes))

    @property
    def planned(self) -> Plan:
        return self.part.plan(self.given)

    def build(self, *, seed: int = 0, dtype: torch.dtype = torch.float32, jitter: float = 0.0) -> Any:
        """Build the component.

        Args:
            seed: Seed of the initial weights.
            dtype: Type of its parameters and buffers.
            jitter: Standard deviation of noise that is added to every parameter. Some layers start at zero or at the
                identity, where errors would not show.

        Returns:
            The component, in evaluation mode.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = self.part.build(self.given)
            if isinstance(built, torch.nn.Module):
                built = built.to(dtype).eval()
                with torch.no_grad():
                    for parameter in built.parameters():
                        parameter.add_(jitter * torch.randn_like(parameter))
        return built


@contextmanager
def refused(error: type[Exception], complaint: str) -> Iterator[None]:
    """Fail with a sentence unless the block in this context raises an error of a type."""
    try:
        yield
    except error:
        return
    raise AssertionError(complaint)


def find_component(kind: Kind, name: str, registry: Registry) -> Component:
    try:
        return registry.component(kind, name)
    except PluginError as error:
        if name in registry.names(kind) or any(refusal.offer.name == name for refusal in registry.refusals):
            raise
        cure = "install it, or run from the folder of the registry.toml that names it"
        raise PluginError(error.message, f"{cure}; {error.hint}" if error.hint else cure) from error


@dataclass(frozen=True)
class Check:
    """Checks one property of every component of a kind.

    Args:
        name: Property in words.
        function: Function that raises an error if a subject does not have the property.
    """

    name: str
    function: Callable[[Subject], None]

    def __call__(self, subject: Subject) -> None:
        if not __debug__:
            raise RuntimeError("the conformance kit needs assertions: run Python without -O")
        self.function(subject)

    def __str__(self) -> str:
        return self.name


def close(what: str, got: Tensor, wanted: Tensor, tolerance: float | None = None) -> None:
    """Fail with a sentence unless two tensors agree.

    Args:
        what: Sentence that says what it means if they differ.
        got: Computed tensor.
        wanted: Expected tensor.
        tolerance: Relative and absolute tolerance; torch's default for the type if None.
    """
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance, msg=lambda text: f"{what}: {text}")
