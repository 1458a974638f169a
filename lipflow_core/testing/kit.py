"""The frame of the conformance kit: the subject of checks, the checks of each kind, and their report."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import torch
from pydantic import TypeAdapter

from lipflow_core.errors import PluginError
from lipflow_core.hooks import Component, Kind
from lipflow_core.parts import Part, SlotOf
from lipflow_core.plans import Mismatch, Plan
from lipflow_core.registry import Registry, default_registry, load_object
from lipflow_core.testing.inputs import default_inputs


@dataclass(frozen=True)
class Subject:
    """A component as the kit examines it: its options and the inputs that it is built for.

    Args:
        part: The component with its options.
        given: The inputs of its kind that it is planned and built with.
        registry: Where nested components are found.
    """

    part: Part
    given: Any
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
        registry: Registry | None = None,
    ) -> Self:
        """The subject for a component by name.

        Args:
            kind: Its kind.
            name: Its name.
            options: Its options, over those of the preset.
            preset: Preset whose defaults apply.
            given: Inputs to build it for, if the kit's own (small ones, with every standard observation) do not fit.
            registry: Where to find it; the default registry if None.

        Raises:
            lipflow_core.errors.PluginError: If there is no such component, or its Config can't be had.
        """
        registry = registry or default_registry()
        registry.load_config(_component(kind, name, registry))  # pydantic would wrap what is wrong
        slot = TypeAdapter(Annotated[Part, SlotOf(kind)])
        part = slot.validate_python({"type": name, **(options or {})}, context={"registry": registry, "preset": preset})
        return cls(part, default_inputs(kind, part, registry) if given is None else given, registry)

    def with_given(self, **changes: Any) -> Self:
        """The same subject for other inputs, such as another size of the code."""
        return replace(self, given=replace(self.given, **changes))

    @property
    def planned(self) -> Plan:
        return self.part.plan(self.given)

    def build(self, *, seed: int = 0, dtype: torch.dtype = torch.float32, jitter: float = 0.0) -> Any:
        """Build the component.

        Args:
            seed: Of the initial weights.
            dtype: Of its parameters and buffers.
            jitter: Standard deviation of noise added to every parameter, so that layers which start at zero or at
                identity are examined away from it.

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


def _component(kind: Kind, name: str, registry: Registry) -> Component:
    try:
        return registry.component(kind, name)
    except PluginError as error:
        if name in registry.names(kind) or any(refusal.offer.name == name for refusal in registry.refusals):
            raise
        cure = "install it, or run from the folder of the registry.toml that names it"
        raise PluginError(error.message, f"{cure}; {error.hint}" if error.hint else cure) from error


@dataclass(frozen=True)
class Check:
    """One question that every component of a kind is asked.

    Args:
        name: What must hold, in words.
        function: Raises if it does not hold.
    """

    name: str
    function: Callable[[Subject], None]

    def __call__(self, subject: Subject) -> None:
        self.function(subject)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Outcome:
    """What came of one check: `error` is None if it passed, else the last lines of its traceback."""

    check: str
    error: str | None = None


@dataclass(frozen=True)
class Report:
    """What came of all checks of one component: `not_run` counts those that could not be asked."""

    component: str
    outcomes: tuple[Outcome, ...]
    not_run: int = 0

    @property
    def passed(self) -> bool:
        return all(outcome.error is None for outcome in self.outcomes)

    def __str__(self) -> str:
        failed = [outcome for outcome in self.outcomes if outcome.error is not None]
        lines = [f"{'ok    ' if o.error is None else 'FAILED'} {o.check}" for o in self.outcomes]
        left_out = f"; {self.not_run} were not run" if self.not_run else ""
        lines.append(
            f"{self.component}: {len(self.outcomes) - len(failed)} of {len(self.outcomes)} checks passed{left_out}"
        )
        lines.extend(f"\n{outcome.check}:\n{outcome.error}" for outcome in failed)
        return "\n".join(lines)


_SUITES: Mapping[Kind, tuple[str, ...]] = {
    "capture": ("descriptor", "capture"),
    "encoder": ("descriptor", "module", "encoder"),
    "prior": ("descriptor", "module", "prior"),
    "flow": ("descriptor", "module", "flow"),
    "coupling": ("descriptor", "module", "coupling"),
    "decoder": ("descriptor", "module", "decoder"),
    "renderer": ("descriptor", "renderer"),
    "objective": ("descriptor", "objective"),
}


def checks(kind: Kind) -> list[Check]:
    """All checks of a kind, in order."""
    found: list[Check] = []
    for suite in _SUITES[kind]:
        found.extend(importlib.import_module(f"lipflow_core.testing.{suite}").CHECKS)
    return found


def check_component(kind: Kind, name: str, options: Mapping[str, Any] | None = None, **subject_options: Any) -> Report:
    """Run every check of its kind on a component.

    One that can't be imported, or whose Config can't plan, fails one check; the others are not run.

    Args:
        kind: Its kind.
        name: Its name.
        options: Its options, over those of preset "tiny".
        **subject_options: See `Subject.of`.

    Raises:
        lipflow_core.errors.PluginError: If there is no such component.
        lipflow_core.plans.Mismatch: If it refuses every input of the kit.
        ValueError: If its options are not valid, such as a required one that is not given.
    """
    label = f"{kind} '{name}'"

    def nothing_run(check: str, error: str) -> Report:
        return Report(label, (Outcome(check, error),), not_run=len(checks(kind)))

    component = _component(kind, name, subject_options.get("registry") or default_registry())
    try:
        load_object(component.implementation, component)
    except PluginError as error:
        return nothing_run("implementation can be imported", str(error))
    try:
        subject = Subject.of(kind, name, options, **subject_options)
    except (PluginError, Mismatch, ValueError):
        raise
    except Exception:
        return nothing_run("Config plans for the inputs of its kind", _last_lines())
    outcomes = []
    for check in checks(kind):
        try:
            check(subject)
            outcomes.append(Outcome(check.name))
        except Exception:
            outcomes.append(Outcome(check.name, _last_lines()))
    return Report(label, tuple(outcomes))


def _last_lines() -> str:
    return "".join(traceback.format_exc().splitlines(keepends=True)[-6:])
