"""Options of prior `mixture`. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat

from lipflow_core.config import Config, Size
from lipflow_core.plans import Plan, PriorInputs


class MixtureConfig(Config):
    """Options of prior `mixture`."""

    components: Size = 5
    """Number of Gaussians in the mixture."""
    divergence: Literal["bound", "sample"] = "bound"
    """Divergence between posterior and prior in training. "bound": a closed-form upper bound of KL(Q‖p), which is exact
    for one component. "sample": log q − log p at a sample of Q, with the entropy of Q in closed form."""
    spread: PositiveFloat = 0.5
    """Standard deviation, before training, of the offsets of component means from the driving encoder's mean, in units
    of σ^p."""

    def plan(self, given: PriorInputs) -> Plan:
        given.refuse_flow("mixture")
        driving = given.driving_shapes("mixture")
        return Plan(inputs={"code": (given.code,), **driving}, outputs={"log_prob": ()}, needs=("driving",))
