"""Options of objective `skeleton-name`. Imports no torch."""

from __future__ import annotations

from pydantic import PositiveFloat

from lipflow_core.config import ObjectiveConfig
from lipflow_core.plans import Mismatch, ObjectiveInputs, Plan


class SkeletonConfig(ObjectiveConfig):
    """Options of objective `skeleton-name`."""

    tolerance: PositiveFloat = 5.0
    """Distances far below this many millimetres count as their square, those far above as themselves."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Needs decoded vertices and the tracked mesh."""
        vertices = given.observations.get("face", {}).get("vertices")
        if vertices is None:
            offered = ", ".join(given.observations) or "nothing"
            raise Mismatch(f"objective 'skeleton-name' compares with 'face', but the capture offers {offered}")
        return Plan(inputs={"vertices": vertices}, outputs={"loss": ()}, needs=("vertices", "target:face"))
