"""Options of the temporal priors. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat

from lipflow_core.config import TemporalConfig
from lipflow_core.plans import Plan, TemporalInputs


class RandomWalkConfig(TemporalConfig):
    """Options of temporal prior `random-walk`."""

    step: PositiveFloat = 0.6
    """Standard deviation of the step from one frame to the next, in each dimension and in units of the space."""
    space: Literal["code", "base"] = "code"
    """Space of the walk. "code" is the code itself. "base" is the prior's base space, where the prior is near N(0, I).
    With a driving encoder its points are distances from the encoder's prediction for the frame, so that a walk there
    smooths what fitting adds to the prediction, and leaves the jitter of the predictions as it is."""

    def plan(self, given: TemporalInputs) -> Plan:
        """Plan a walk in the chosen space."""
        return Plan(
            inputs={"path": (given.code,)},
            outputs={"energy": ()},
            needs=("base",) if self.space == "base" else (),
        )
