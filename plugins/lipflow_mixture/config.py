"""Options of prior `mixture`. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from lipflow_core.config import Config
from lipflow_core.plans import Mismatch, Plan, PriorInputs


class MixtureConfig(Config):
    """Options of prior `mixture`."""

    components: PositiveInt = 5
    """Gaussians in the mixture."""
    divergence: Literal["bound", "sample"] = "bound"
    """The training term: "bound" is a closed-form upper bound of KL(Q‖P), exact for one component; "sample" is log q −
    log p at Q's sample, with Q's entropy in closed form."""
    spread: PositiveFloat = 0.5
    """Standard deviation of the components' first offsets from the driving mean, in its standard deviations."""

    def plan(self, given: PriorInputs) -> Plan:
        if given.flow is not None:
            raise Mismatch(f"prior 'mixture' takes no flow but the spec names flow '{given.flow.name}'")
        driving = given.driving_shapes("mixture")
        return Plan(inputs={"code": (given.code,), **driving}, outputs={"log_prob": ()}, needs=("driving",))
