"""Options that priors around a flow share. Imports no torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat

from lipflow_core.config import Config
from lipflow_core.plans import FlowInputs, Mismatch, Plan, PriorInputs


class SeenThroughFlowConfig(Config):
    """Base of the options of every prior whose density is a base seen through a flow (`densities.SeenThroughFlow`).

    A subclass names its prior in `component`, and adds the options of its base density.
    """

    component: ClassVar[str]
    """Name of the prior, for messages."""

    base: Literal["driving", "standard-normal"] = "driving"
    """Base density, which the flow transforms. "driving": location μ^p and scale σ^p come from the driving encoder, and
    the flow is conditioned on its features, as in LiP-Flow. "standard-normal": location 0, scale 1, and an
    unconditional flow, as in DAM-Flow."""
    posterior_entropy: Literal["drop", "keep"] = "drop"
    """Whether the divergence contains the entropy of Q. "drop" leaves it out, as the paper does. "keep" subtracts it,
    so that the divergence is an estimate of KL(Q‖p)."""
    prior_entropy: NonNegativeFloat = 0.0
    """Weight of a penalty on the entropy of p in Q's space, relative to the likelihood term of the divergence."""

    def flow_inputs(self, given: PriorInputs) -> FlowInputs:
        """Return what the flow is planned and built from.

        Raises:
            Mismatch: If base "driving" has no driving encoder, or one whose code has another size.
        """
        context = given.driving_shapes(self.component)["features"][0] if self.base == "driving" else 0
        return FlowInputs(features=given.code, context=context)

    def plan(self, given: PriorInputs) -> Plan:
        if given.flow is None:
            raise Mismatch(
                f"prior '{self.component}' needs a flow, but the spec's slot 'flow' is empty; name one there"
            )
        driving = given.driving_shapes(self.component) if self.base == "driving" else {}
        flow = given.flow.plan(self.flow_inputs(given))
        if not flow.invertible:
            raise Mismatch(
                f"prior '{self.component}' samples through the inverse of its flow, but flow '{given.flow.name}' has "
                "no inverse; choose another in the spec's slot 'flow'"
            )
        return Plan(
            inputs={"code": (given.code,), **driving},
            outputs={"log_prob": ()},
            devices=flow.devices,
            needs=("driving",) if driving else (),
            parts={"flow": flow},
            divergence_weight=5e-4,
            base_space=True,
        )
