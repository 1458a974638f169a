"""Options of prior `mixture`. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from lipflow_core.parts import Config
from lipflow_core.plans import Mismatch, Plan, PriorInputs


class MixtureConfig(Config):
    """Options of prior `mixture`.

    Args:
        components: Gaussians in the mixture.
        divergence: The training term: "bound" is a closed-form upper bound of KL(Q‖P), exact for one component;
            "sample" is log q − log p at Q's sample, with Q's entropy in closed form.
        spread: Standard deviation of the components' first offsets from the driving mean, in its standard deviations.
    """

    components: PositiveInt = 5
    divergence: Literal["bound", "sample"] = "bound"
    spread: PositiveFloat = 0.5

    def plan(self, given: PriorInputs) -> Plan:
        if given.flow is not None:
            raise Mismatch(f"prior 'mixture' takes no flow but the spec names flow '{given.flow.name}'")
        if given.driving is None:
            raise Mismatch("prior 'mixture' needs a driving encoder, but the spec's slot 'driving' is empty")
        shapes = {name: given.driving.outputs[name] for name in ("mean", "log_std", "features")}
        if shapes["mean"] != (given.code,):
            raise Mismatch(
                f"prior 'mixture' works on a code of {given.code} dimensions, but driving encoder "
                f"'{given.driving_name}' predicts {shapes['mean'][0]}"
            )
        return Plan(inputs={"code": (given.code,), **shapes}, outputs={"log_prob": ()}, needs=("driving",))
