"""Options of the paper's priors. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, model_validator

from lipflow_core.config import Config
from lipflow_core.plans import FlowInputs, Mismatch, Plan, PriorInputs


def _refuse_flow(prior: str, given: PriorInputs) -> None:
    if given.flow is not None:
        raise Mismatch(f"prior '{prior}' takes no flow but the spec names flow '{given.flow.name}'")


class StandardNormalConfig(Config):
    """Options of prior `standard-normal`: it has none."""

    def plan(self, given: PriorInputs) -> Plan:
        _refuse_flow("standard-normal", given)
        return Plan(inputs={"code": (given.code,)}, outputs={"log_prob": ()})


class DrivingGaussianConfig(Config):
    """Options of prior `kl`."""

    divergence: Literal["kl", "reverse-kl", "likelihood"] = "kl"
    """The training term: "kl" is KL(Q‖P), "reverse-kl" KL(P‖Q), "likelihood" −log N(z^q; μ^p, σ^p)."""
    std: Literal["driving"] | PositiveFloat = "driving"
    """Standard deviation of the prior: the driving encoder's own, or one number for all dimensions."""

    def plan(self, given: PriorInputs) -> Plan:
        _refuse_flow("kl", given)
        driving = given.driving_shapes("kl")
        return Plan(
            inputs={"code": (given.code,), **driving},
            outputs={"log_prob": ()},
            needs=("driving",),
            divergence_weight=1.0,
        )


class FlowPriorConfig(Config):
    """Options of prior `flow`; the defaults are LiP-Flow-HMC's."""

    base: Literal["driving", "standard-normal"] = "driving"
    """"driving": N(μ^p, σ^p) of the driving encoder, the flow conditioned on its features (LiP-Flow); "standard-
    normal": N(0, I) and an unconditional flow (DAM-Flow)."""
    std: Literal["driving"] | PositiveFloat = "driving"
    """Standard deviation of a driving base: the driving encoder's own, or one number for all dimensions."""
    posterior_entropy: Literal["drop", "keep"] = "drop"
    """Whether the training term keeps Q's entropy, which makes it the KL divergence from Q up to sampling, or drops it
    as the paper does."""
    prior_entropy: NonNegativeFloat = 0.0
    """Weight of a penalty on the entropy of p, as Q's space sees it, relative to the likelihood term; 1 is what the
    shipped LiP-Flow-KPT has."""
    driving_entropy: NonNegativeFloat = 0.0
    """Weight of a penalty on the entropy of the driving Gaussian alone, as the paper words that of its LiP-Flow-KPT, 1.
    It has no minimum: the Gaussian shrinks, the flow with it, until training breaks."""

    @model_validator(mode="after")
    def _needs_driving_base(self) -> FlowPriorConfig:
        if self.base == "standard-normal":
            if self.std != "driving":
                raise ValueError("std is for base 'driving'; base 'standard-normal' has standard deviation 1")
            if self.driving_entropy > 0:
                raise ValueError("driving_entropy penalises base 'driving'; with base 'standard-normal' it must be 0")
        if self.std != "driving" and self.driving_entropy > 0:
            raise ValueError("driving_entropy penalises the driving encoder's σ; with a fixed std it must be 0")
        return self

    def flow_inputs(self, given: PriorInputs) -> FlowInputs:
        """What the flow is planned and built from."""
        context = 0 if self.base == "standard-normal" else given.driving_shapes("flow")["features"][0]
        return FlowInputs(features=given.code, context=context)

    def plan(self, given: PriorInputs) -> Plan:
        if given.flow is None:
            raise Mismatch("prior 'flow' needs a flow, but the spec's slot 'flow' is empty; name one, as in flow=glow")
        driving = {} if self.base == "standard-normal" else given.driving_shapes("flow")
        flow = given.flow.plan(self.flow_inputs(given))
        if not flow.invertible:
            raise Mismatch(f"prior 'flow' samples through the flow's inverse, but flow '{given.flow.name}' has none")
        return Plan(
            inputs={"code": (given.code,), **driving},
            outputs={"log_prob": ()},
            devices=flow.devices,
            differentiable=flow.differentiable,
            needs=("driving",) if driving else (),
            parts={"flow": flow},
            divergence_weight=5e-4,
        )
