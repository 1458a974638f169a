"""Options of prior `flow-student`. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat

from lipflow_core.config import Config
from lipflow_core.plans import FlowInputs, Mismatch, Plan, PriorInputs


class StudentFlowConfig(Config):
    """Options of prior `flow-student`."""

    freedom: Annotated[int, Field(ge=3)] = 20
    """Degrees of freedom ν of the Student-t; the smaller, the heavier its tails."""
    base: Literal["driving", "standard-normal"] = "driving"
    """"driving": location μ^p and scale σ^p of the driving encoder, the flow conditioned on its features; "standard-
    normal": location 0, scale 1 and an unconditional flow."""
    posterior_entropy: Literal["drop", "keep"] = "drop"
    """Whether the training term keeps Q's entropy, or drops it as the paper's flow prior does."""
    prior_entropy: NonNegativeFloat = 0.0
    """Weight of a penalty on the entropy of p, as Q's space sees it, relative to the likelihood term."""

    def flow_inputs(self, given: PriorInputs) -> FlowInputs:
        """What the flow is planned and built from."""
        context = given.driving_shapes("flow-student")["features"][0] if self.base == "driving" else 0
        return FlowInputs(features=given.code, context=context)

    def plan(self, given: PriorInputs) -> Plan:
        if given.flow is None:
            raise Mismatch(
                "prior 'flow-student' needs a flow, but the spec's slot 'flow' is empty; name one, as in flow=glow"
            )
        driving = given.driving_shapes("flow-student") if self.base == "driving" else {}
        flow = given.flow.plan(self.flow_inputs(given))
        if not flow.invertible:
            raise Mismatch(f"prior 'flow-student' samples through an inverse, but flow '{given.flow.name}' has none")
        return Plan(
            inputs={"code": (given.code,), **driving},
            outputs={"log_prob": ()},
            devices=flow.devices,
            differentiable=flow.differentiable,
            needs=("driving",) if driving else (),
            parts={"flow": flow},
            divergence_weight=5e-4,
        )
