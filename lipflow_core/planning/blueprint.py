"""The blueprint of a model: all its parts, each with the inputs that it is built from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lipflow_core.parts import Part
from lipflow_core.plans import Needs, Observations, Plan, Roles, Shape
from lipflow_core.specs.model import Spec


@dataclass(frozen=True)
class PlannedPart:
    """A slot of a spec with the component in it, planned.

    Args:
        slot: Path of the slot in the spec, such as "driving" or "training.stages.1.prior".
        part: Component in the slot.
        given: Inputs that it was planned from and is built from.
        plan: Plan of the component.
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
    """The planned parts of a model, which fit together.

    Args:
        spec: Spec that was planned.
        device: Device type that it was planned for.
        capture: Plan of the capture, with the shape of each tensor by "OBSERVATION.TENSOR", and the roles.
        encoder: Encoder Q; the same object as `driving` if the spec says `same_as`.
        driving: Driving encoder P, or None.
        prior: Prior used in training.
        stage_priors: Training stage's name → its prior, for stages that name one.
        fitting_prior: Prior used in fitting.
        decoder: Decoder D.
        renderer: Renderer R.
        stage_objectives: Training stage's name → its objectives, in the spec's order.
        objectives: Objectives of fitting, in the spec's order.
        optimizer: Optimizer of fitting.
        temporal: Temporal prior of fitting, or None.
        metrics: Metrics of the evaluation, in the spec's order.
        view: Observation whose pictures are compared.
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
    optimizer: PlannedPart
    temporal: PlannedPart | None
    metrics: tuple[PlannedPart, ...]
    view: str

    @property
    def roles(self) -> Roles:
        """Roles of the capture's observations."""
        assert self.capture.roles is not None  # planning refuses captures without roles
        return self.capture.roles

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of each tensor that the capture offers, by "OBSERVATION.TENSOR"."""
        return self.capture.outputs

    @property
    def observations(self) -> Observations:
        """Shapes by observation and tensor, without topology and template."""
        return self.capture.observations

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions of the capture's template."""
        return self.capture.regions

    @property
    def fitted_observations(self) -> tuple[str, ...]:
        """Names of the observations that fitting loads: the objectives' targets, and the prior's driving signal."""
        needs = Needs.of(planned.plan for planned in self.objectives)
        based = self.spec.fitting.space == "base" or (self.temporal is not None and "base" in self.temporal.plan.needs)
        asked = needs.prior or self.spec.fitting.start == "prior" or based
        driven = asked and self.driving is not None and "driving" in self.fitting_prior.plan.needs
        surface = (self.roles.surface,) if needs.regions else ()
        return tuple(dict.fromkeys([*needs.targets, *surface, *(self.driving.plan.needs if driven else ())]))

    @property
    def started_observations(self) -> tuple[str, ...]:
        """Names of the observations that the start of a fit needs: the prior's driving signal."""
        if self.spec.fitting.start != "prior" or self.driving is None:
            return ()
        return self.driving.plan.needs if "driving" in self.fitting_prior.plan.needs else ()

    @property
    def scored_observations(self) -> tuple[str, ...]:
        """Names of the observations that the metrics compare with."""
        return Needs.of(planned.plan for planned in self.metrics).targets

    def distinct(self) -> Iterator[PlannedPart]:
        """Yield every part of the model once: shared encoders and equal priors are one part."""
        seen: list[PlannedPart] = []
        priors = (self.prior, *self.stage_priors.values(), self.fitting_prior)
        for planned in (self.encoder, self.driving, *priors, self.decoder, self.renderer):
            if planned is not None and not any(planned is other for other in seen):
                seen.append(planned)
                yield planned
