"""Options of prior `flow-matching`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import NonNegativeInt

from lipflow_core.config import Config, Depth, Size
from lipflow_core.plans import Plan, PriorInputs

_EXACT_UP_TO, _PROBES = 32, 8


class FlowMatchingConfig(Config):
    """Options of prior `flow-matching`."""

    base: Literal["driving", "standard-normal"] = "driving"
    """Density that the velocity refines. "driving": N(μ^p, σ^p) of the driving encoder, with a velocity conditioned on
    its features. "standard-normal": N(0, I), with an unconditional velocity."""
    posterior_entropy: Literal["keep", "drop"] = "keep"
    """Whether the divergence contains the entropy of Q. "keep" subtracts it, so that the divergence is a bound of
    KL(Q‖p). "drop" leaves it out, as the paper does for its flow prior."""
    fitting: Literal["surrogate", "exact"] = "surrogate"
    """Likelihood that fitting maximises. "surrogate": a lower bound of log p at fixed times and noise. "exact": log p
    by integration, which takes many times as long."""
    hidden: Size = 1024
    """Width of the network that predicts the velocity."""
    blocks: Depth = 2
    """Number of residual blocks of this network."""
    steps: Depth = 4
    """Number of Runge-Kutta steps between base and code."""
    probes: NonNegativeInt | None = None
    """Number of probe vectors that estimate the divergence of the velocity; all codes use the same ones. 0 computes it
    exactly, at the cost of one probe for each dimension. Null means exact for codes of up to 32 dimensions, and 8
    probes for larger ones."""
    pairs: Size = 8
    """Number of times t at which the surrogate evaluates the velocity, each with two opposite noise vectors."""
    training_pairs: Size = 2
    """Number of such times for each sample of a training step, where times and noise are drawn anew."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"hidden": 32, "blocks": 1},
        "small": {"hidden": 256},
        "medium": {"hidden": 512},
    }

    def probes_for(self, code: int) -> int:
        """Return the number of probes for a code of this size; 0 means an exact divergence."""
        if self.probes is not None:
            return self.probes
        return 0 if code <= _EXACT_UP_TO else _PROBES

    def plan(self, given: PriorInputs) -> Plan:
        given.refuse_flow("flow-matching")
        driving = given.driving_shapes("flow-matching") if self.base == "driving" else {}
        return Plan(
            inputs={"code": (given.code,), **driving},
            outputs={"log_prob": ()},
            needs=("driving",) if driving else (),
        )
