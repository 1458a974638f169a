"""Options of metric `skeleton-name`. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from lipflow_core.config import MetricConfig
from lipflow_core.plans import MetricInputs, Mismatch, Plan


class SkeletonConfig(MetricConfig):
    """Options of metric `skeleton-name`."""

    heading: ClassVar[str] = "P95"
    unit: ClassVar[str] = "mm"
    digits: ClassVar[int] = 2
    higher_is_better: ClassVar[bool] = False
    definition: ClassVar[str] = "Distance within which 95 % of a frame's decoded vertices lie from the tracked ones."

    share: Annotated[float, Field(ge=0, le=1)] = 0.95
    """Share of the vertices that lie within the distance."""

    def plan(self, given: MetricInputs) -> Plan:
        """Needs decoded vertices and the tracked mesh."""
        surface = given.roles.surface
        vertices = given.observations.get(surface, {}).get("vertices")
        if vertices is None:
            raise Mismatch(f"metric 'skeleton-name' compares vertices, but the capture's '{surface}' has none")
        return Plan(inputs={"vertices": vertices}, outputs={"score": ()}, needs=("vertices", f"target:{surface}"))
