"""Options of temporal prior `skeleton-name`. Imports no torch."""

from __future__ import annotations

from pydantic import PositiveFloat

from lipflow_core.config import TemporalConfig
from lipflow_core.plans import Plan, TemporalInputs


class SkeletonConfig(TemporalConfig):
    """Options of temporal prior `skeleton-name`."""

    change: PositiveFloat = 0.1
    """Standard deviation of the change of pace from one frame to the next, in each dimension of the code."""

    def plan(self, given: TemporalInputs) -> Plan:
        """Works on codes; with needs=("base",) it would work in the prior's base space."""
        return Plan(inputs={"path": (given.code,)}, outputs={"energy": ()})
