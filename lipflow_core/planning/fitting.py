"""Checks what the parts of a fit ask of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lipflow_core.planning.blueprint import PlannedPart
from lipflow_core.planning.findings import Findings
from lipflow_core.plans import Needs


@dataclass(frozen=True)
class FittingCheck:
    """Notes parts of a fit that do not go together; a part that could not be planned is None.

    Args:
        findings: Takes the notes.
        objectives: Objectives of fitting.
        optimizer: Optimizer of fitting.
        temporal: Temporal prior of fitting.
        prior: Prior of fitting.
        driving: Driving encoder.
        surface: Observation that holds the tracked surface, which has no cameras.
        metrics: Metrics of the evaluation; a grid search chooses by the first.
    """

    findings: Findings
    objectives: Sequence[PlannedPart]
    optimizer: PlannedPart | None
    temporal: PlannedPart | None
    prior: PlannedPart | None
    driving: PlannedPart | None
    surface: str
    metrics: Sequence[PlannedPart]

    def run(self) -> None:
        """Make all checks."""
        self._pose()
        self._curvature()
        self._coupled_rows()
        self._base_space()
        self._grid()

    def _pose(self) -> None:
        """Note a pose or its perturbation if fitting compares with nothing that the moving cameras see."""
        fitting, driving = self.findings.spec.fitting, self.driving
        asked = [name for name in ("pose", "perturbation") if getattr(fitting, name) is not None]
        seen = set(Needs.of(term.plan for term in self.objectives).targets) - {self.surface}
        if not asked or (seen if driving is None else seen & set(driving.plan.needs)):
            return
        whose = "an observation with cameras" if driving is None else f"'{', '.join(driving.plan.needs)}'"
        for name in asked:
            self.findings.note(
                f"fitting.{name}",
                f"fitting.{name} moves the driving cameras, but no objective of fitting compares with {whose}; name "
                f"one that does, or set fitting.{name}=null",
            )

    def _curvature(self) -> None:
        """Note an optimizer that needs curvature where no objective has it."""
        if self.optimizer is None or "curvature" not in self.optimizer.plan.needs or not self.objectives:
            return
        if not any(term.plan.residuals or "prior" in term.plan.needs for term in self.objectives):
            named = ", ".join(term.part.name for term in self.objectives)
            self.findings.note(
                "fitting.optimizer",
                f"{self.optimizer} needs an objective that is a sum of squares, which none of {named} is; choose an "
                "optimizer that uses gradients alone",
            )

    def _coupled_rows(self) -> None:
        """Note a temporal prior whose optimizer takes each frame alone."""
        if self.temporal is not None and self.optimizer is not None and not self.optimizer.plan.coupled_rows:
            self.findings.note(
                "fitting.optimizer",
                f"{self.optimizer} minimises the loss of each frame by itself, but {self.temporal} couples the frames "
                "of a run; choose an optimizer that takes coupled rows, or set fitting.temporal=null",
            )

    def _base_space(self) -> None:
        """Note points or a temporal prior in a base space that the prior lacks."""
        if self.prior is None or self.prior.plan.base_space:
            return
        if self.findings.spec.fitting.space == "base":
            self.findings.note(
                "fitting.space", f"fitting.space is 'base', but {self.prior} has no base space; set fitting.space=code"
            )
        if self.temporal is not None and "base" in self.temporal.plan.needs:
            self.findings.note(
                "fitting.temporal",
                f"{self.temporal} works in the prior's base space, but {self.prior} has none; choose a temporal prior "
                "in the space of the code",
            )

    def _grid(self) -> None:
        """Note a grid search by a metric that has no value for single frames of the fit."""
        fitting = self.findings.spec.fitting
        if not self.metrics or fitting.grid is None:
            return
        needs = Needs.of([self.metrics[0].plan])
        lacks = "scores whole sequences" if needs.neighbours else ""
        if needs.pose and fitting.pose is None and fitting.perturbation is None:
            lacks = "scores the pose, which this fit neither fits nor perturbs"
        if lacks:
            self.findings.note(
                "fitting.grid",
                f"a grid search chooses by the first metric, but {self.metrics[0]} {lacks}; name another metric first "
                "in evaluation.metrics",
            )
