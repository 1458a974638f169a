"""Options of optimizer `skeleton-name`. Imports no torch."""

from __future__ import annotations

from pydantic import PositiveFloat

from lipflow_core.config import Config
from lipflow_core.plans import OptimizerInputs, Plan


class SkeletonConfig(Config):
    """Options of optimizer `skeleton-name`."""

    learning_rate: PositiveFloat = 0.02
    """Step of each parameter while its gradient keeps its sign."""

    def plan(self, given: OptimizerInputs) -> Plan:
        """Needs gradients alone."""
        size = given.code + given.pose
        return Plan(inputs={"parameters": (size,)}, outputs={"parameters": (size,)})
