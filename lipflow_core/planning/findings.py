"""Collects what does not fit, with its place in the spec, and calls a part's `plan` safely."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lipflow_core.errors import CompatibilityError, LipflowError, PluginError
from lipflow_core.parts import Part
from lipflow_core.planning.blueprint import PlannedPart
from lipflow_core.plans import Mismatch, Plan
from lipflow_core.specs.model import Spec


@dataclass
class Findings:
    """Sentences about parts that do not fit, each with its slot.

    Args:
        spec: Spec that is planned; it holds the origin of each value.
        given: Slot → plan of a component that was built elsewhere and replaces the one in this slot.
    """

    spec: Spec
    given: Mapping[str, Plan]
    problems: list[tuple[str, str]] = field(default_factory=list)

    def note(self, slot: str, sentence: str) -> None:
        """Add a finding, unless it was added before."""
        if (slot, sentence) not in self.problems:
            self.problems.append((slot, sentence))

    def plan(self, slot: str, part: Part, given: Any) -> PlannedPart | None:
        """Plan a part; if it does not fit, note why and return None."""
        if slot in self.given:
            return PlannedPart(slot, part, given, self.given[slot])
        try:
            return PlannedPart(slot, part, given, plan_of(part, given))
        except Mismatch as mismatch:
            self.note(slot, str(mismatch))
            return None

    def error(self) -> CompatibilityError:
        """Make one error that lists all findings with their places."""
        lines = []
        for slot, sentence in self.problems:
            path = tuple(int(name) if name.isdecimal() else name for name in slot.split("."))
            origin = next((self.spec.origins[p] for p in _upwards(path) if p in self.spec.origins), None)
            lines.append(": ".join(filter(None, (str(origin or ""), slot, sentence))))
        if len(lines) == 1:
            return CompatibilityError(lines[0])
        return CompatibilityError(f"{len(lines)} parts do not fit:\n" + "\n".join(lines))


def plan_of(part: Part, given: Any) -> Plan:
    """Call a part's `plan`.

    Raises:
        lipflow_core.plans.Mismatch: If it does not fit.
        lipflow_core.errors.PluginError: If it fails in another way or does not return a plan.
    """
    try:
        planned = part.plan(given)
    except (Mismatch, LipflowError):
        raise
    except Exception as error:
        raise PluginError(
            f"{part.kind} '{part.name}' of {part.distribution}: its plan() failed: {type(error).__name__}: {error}",
            "This is a bug in the plugin; `lipflow-core plugins check` may tell more.",
        ) from error
    if not isinstance(planned, Plan):
        raise PluginError(
            f"{part.kind} '{part.name}' of {part.distribution}: its plan() returned {planned!r}, not a Plan"
        )
    return planned


def check_installed(parts: list[Part]) -> None:
    """Raise a PluginError that names every part with missing packages, and how to install them."""
    from lipflow_core.registry.discovery import missing_requirements

    lines, cures = [], []
    for part in parts:
        if missing := missing_requirements(part.component.requires):
            verb = "is" if len(missing) == 1 else "are"
            lines.append(f"{part.kind} '{part.name}' needs {', '.join(missing)}, which {verb} not installed")
            cures.append(part.component.install or f"install {', '.join(missing)}")
    if lines:
        raise PluginError("\n".join(dict.fromkeys(lines)), f"Install with: {'; '.join(dict.fromkeys(cures))}")


def _upwards(path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    for length in range(len(path), -1, -1):
        yield path[:length]
