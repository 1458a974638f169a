"""Options of the paper's priors. Imports no torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from lipflow_kit.flow_priors import SeenThroughFlowConfig
from pydantic import NonNegativeFloat, PositiveFloat, model_validator

from lipflow_core.config import Config
from lipflow_core.plans import Plan, PriorInputs


class StandardNormalConfig(Config):
    """Options of prior `standard-normal`: none."""

    def plan(self, given: PriorInputs) -> Plan:
        given.refuse_flow("standard-normal")
        return Plan(inputs={"code": (given.code,)}, outputs={"log_prob": ()}, base_space=True)


class DrivingGaussianConfig(Config):
    """Options of prior `kl`."""

    divergence: Literal["kl", "reverse-kl", "likelihood"] = "kl"
    """Divergence between posterior and prior in training. "kl": KL(Q‖P). "reverse-kl": KL(P‖Q). "likelihood":
    −log N(z^q; μ^p, σ^p) at a sample z^q of Q."""
    std: Literal["driving"] | PositiveFloat = "driving"
    """Standard deviation of the prior. "driving" takes σ^p, which the driving encoder predicts; a number is the fixed
    standard deviation of every dimension."""

    def plan(self, given: PriorInputs) -> Plan:
        given.refuse_flow("kl")
        driving = given.driving_shapes("kl")
        return Plan(
            inputs={"code": (given.code,), **driving},
            outputs={"log_prob": ()},
            needs=("driving",),
            divergence_weight=1.0,
            base_space=True,
        )


class FlowPriorConfig(SeenThroughFlowConfig):
    """Options of prior `flow`. The defaults are those of LiP-Flow-HMC."""

    component: ClassVar[str] = "flow"

    std: Literal["driving"] | PositiveFloat = "driving"
    """Standard deviation of base "driving". "driving" takes σ^p, which the driving encoder predicts; a number is the
    fixed standard deviation of every dimension."""
    driving_entropy: NonNegativeFloat = 0.0
    """Weight of a penalty on the entropy of the driving encoder's Gaussian alone. The paper describes its LiP-Flow-KPT
    with weight 1. The penalty has no minimum: Gaussian and flow shrink together until training breaks. Prefer
    `prior_entropy`."""

    @model_validator(mode="after")
    def _needs_driving_base(self) -> FlowPriorConfig:
        if self.base == "standard-normal":
            if self.std != "driving":
                raise ValueError(
                    f"std is {self.std}, but base 'standard-normal' always has standard deviation 1; leave out std, "
                    "or set base to 'driving'"
                )
            if self.driving_entropy > 0:
                raise ValueError(
                    f"driving_entropy is {self.driving_entropy}, but base 'standard-normal' has no driving encoder to "
                    "penalise; set it to 0, or base to 'driving'"
                )
        if self.std != "driving" and self.driving_entropy > 0:
            raise ValueError(
                f"driving_entropy is {self.driving_entropy}, but with a fixed std the entropy is constant; "
                "set driving_entropy to 0, or std to 'driving'"
            )
        return self
