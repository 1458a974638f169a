"""Runs the checks of a component's kind and reports the outcomes."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lipflow_core.errors import PluginError
from lipflow_core.hooks import Kind
from lipflow_core.plans import Mismatch
from lipflow_core.registry import default_registry, load_object
from lipflow_core.testing import (
    capture,
    coupling,
    decoder,
    descriptor,
    encoder,
    flow,
    metric,
    module,
    objective,
    optimizer,
    prior,
    renderer,
    temporal,
    term,
)
from lipflow_core.testing.subject import Check, Subject, find_component

_SUITES: Mapping[Kind, list[Check]] = {
    "capture": capture.CHECKS,
    "encoder": [*module.CHECKS, *encoder.CHECKS],
    "prior": [*module.CHECKS, *prior.CHECKS],
    "flow": [*module.CHECKS, *coupling.CHECKS, *flow.CHECKS],
    "coupling": [*module.CHECKS, *coupling.CHECKS],
    "decoder": [*module.CHECKS, *decoder.CHECKS],
    "renderer": renderer.CHECKS,
    "objective": [*term.CHECKS, *objective.CHECKS],
    "optimizer": optimizer.CHECKS,
    "temporal": temporal.CHECKS,
    "metric": [*term.CHECKS, *metric.CHECKS],
}


@dataclass(frozen=True)
class Outcome:
    """Holds the outcome of one check: `error` is None if it passed, else the last lines of the traceback."""

    check: str
    error: str | None = None


@dataclass(frozen=True)
class Report:
    """Holds the outcomes of all checks of one component; `not_run` is the number of checks that could not run."""

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


def checks(kind: Kind) -> list[Check]:
    """List all checks of a kind, in order."""
    return [*descriptor.CHECKS, *_SUITES[kind]]


def check_component(kind: Kind, name: str, options: Mapping[str, Any] | None = None, **subject_options: Any) -> Report:
    """Run every check of its kind on a component.

    A component that can't be imported, or whose Config can't plan, fails one check; the others are not run.

    Args:
        kind: Kind of the component.
        name: Name of the component.
        options: Options of the component; they override those of preset "tiny".
        **subject_options: Further arguments of `Subject.of`.

    Raises:
        lipflow_core.errors.PluginError: If there is no such component.
        lipflow_core.plans.Mismatch: If its plan refuses every input that the kit has for it.
        ValueError: If its options are not valid, such as a required one that is not given.
    """
    label = f"{kind} '{name}'"

    def nothing_run(check: str, error: str) -> Report:
        return Report(label, (Outcome(check, error),), not_run=len(checks(kind)))

    component = find_component(kind, name, subject_options.get("registry") or default_registry())
    try:
        load_object(component.implementation, component)
    except PluginError as error:
        return nothing_run("implementation can be imported", str(error))
    try:
        subject = Subject.of(kind, name, options, **subject_options)
    except (PluginError, Mismatch, ValueError):
        raise
    except (Exception, SystemExit):
        return nothing_run("Config plans for the inputs of its kind", _last_lines())
    outcomes = []
    for check in checks(kind):
        try:
            check(subject)
            outcomes.append(Outcome(check.name))
        except (Exception, SystemExit):
            outcomes.append(Outcome(check.name, _last_lines()))
    return Report(label, tuple(outcomes))


def _last_lines() -> str:
    return "".join(traceback.format_exc().splitlines(keepends=True)[-6:])
