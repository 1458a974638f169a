"""Options of objective `skeleton-name`. Imports no torch."""

from __future__ import annotations

from pydantic import PositiveFloat

from lipflow_core.config import ObjectiveConfig
from lipflow_core.plans import ObjectiveInputs, Plan


class SkeletonConfig(ObjectiveConfig):
    """Options of objective `skeleton-name`."""

    tolerance: PositiveFloat = 5.0
    """Distance in millimetres: the loss grows with the square of distances well below it, and in proportion to
    distances well above it."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Needs decoded vertices and the tracked mesh, in training and in fitting."""
        surface = given.roles.surface
        return Plan(
            inputs={"vertices": given.observations[surface]["vertices"]},
            outputs={"loss": ()},
            needs=("vertices", f"target:{surface}"),
        )
