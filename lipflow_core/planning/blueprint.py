"""What planning gives: all parts of a model, each with what it is built from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lipflow_core.parts import Part
from lipflow_core.plans import Needs, Observations, Plan, Roles, Shape
from lipflow_core.specs.model import Spec


@dataclass(frozen=True)
class PlannedPart:
    """One slot of a spec, planned.

    Args:
        slot: Its path in the spec, such as "driving" or "training.stages.1.prior".
        part: The component in it.
        given: What it was planned from and is to be built from.
        plan: What it will be.
    """

    slot: str
    part: Part
    given: Any
    plan: Plan

    def build(self) -> Any:
        """Construct the component."""
        return self.part.build(self.given)

    def __str__(self) -> str:
        return f"{self.part.kind} '{self.part.name}'"


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """All parts of a model that fit together.

    Args:
        spec: What was planned.
        device: Device type that it was planned for.
        capture: Plan of the capture: the shape of each tensor that it offers, by "OBSERVATION.TENSOR", and the roles.
        encoder: Q; equal to `driving` where the spec says `same_as`.
        driving: P, or None.
        prior: The prior of training.
        stage_priors: Training stage's name → its prior, where it names one.
        fitting_prior: The prior while fitting.
        decoder: D.
        renderer: R.
        stage_objectives: Training stage's name → its objectives, in the spec's order.
        objectives: Those of fitting, in the spec's order.
        metrics: What decoded codes are scored by, in the spec's order.
        view: Observation that pictures are compared in.
    """

    spec: Spec
    device: str
    capture: Plan
    encoder: PlannedPart
    driving: PlannedPart | None
    prior: PlannedPart
    stage_priors: Mapping[str, PlannedPart]
    fitting_prior: PlannedPart
    decoder: PlannedPart
    renderer: PlannedPart
    stage_objectives: Mapping[str, tuple[PlannedPart, ...]]
    objectives: tuple[PlannedPart, ...]
    metrics: tuple[PlannedPart, ...]
    view: str

    @property
    def roles(self) -> Roles:
        """Which observations of the capture the core uses."""
        assert self.capture.roles is not None  # planning refuses captures without
        return self.capture.roles

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of each tensor that the capture offers, by "OBSERVATION.TENSOR"."""
        return self.capture.outputs

    @property
    def observations(self) -> Observations:
        """The same by observation and tensor, without topology and template."""
        return self.capture.observations

    @property
    def fitted_observations(self) -> tuple[str, ...]:
        """Names of the observations that fitting looks at: the objectives' targets, and what drives the prior."""
        needs = Needs.of(planned.plan for planned in self.objectives)
        asked = needs.prior or self.spec.fitting.start == "prior"
        driven = asked and self.driving is not None and "driving" in self.fitting_prior.plan.needs
        return tuple(dict.fromkeys([*needs.targets, *(self.driving.plan.needs if driven else ())]))

    @property
    def scored_observations(self) -> tuple[str, ...]:
        """Names of the observations that the metrics compare with."""
        return Needs.of(planned.plan for planned in self.metrics).targets

    def distinct(self) -> Iterator[PlannedPart]:
        """Yield every part of the model, each once: shared encoders and equal priors are one part."""
        seen: list[PlannedPart] = []
        priors = (self.prior, *self.stage_priors.values(), self.fitting_prior)
        for planned in (self.encoder, self.driving, *priors, self.decoder, self.renderer):
            if planned is not None and not any(planned is other for other in seen):
                seen.append(planned)
                yield planned
