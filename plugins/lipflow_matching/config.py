"""Options of prior `flow-matching`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt

from lipflow_core.config import Config
from lipflow_core.plans import Mismatch, Plan, PriorInputs

_EXACT_UP_TO, _PROBES = 32, 8


class FlowMatchingConfig(Config):
    """Options of prior `flow-matching`."""

    base: Literal["driving", "standard-normal"] = "driving"
    """Where the flow starts: "driving", N(μ^p, σ^p) of the driving encoder, the velocity conditioned on its features;
    "standard-normal", N(0, I) and an unconditional velocity."""
    posterior_entropy: Literal["keep", "drop"] = "keep"
    """Whether the training term keeps Q's entropy, which makes it a bound on the KL divergence from Q, or drops it as
    the paper's flow prior does."""
    fitting: Literal["surrogate", "exact"] = "surrogate"
    """What fitting ascends: "surrogate", a lower bound on log p at fixed times and noise; "exact", log p by
    integration, many times as costly."""
    hidden: PositiveInt = 1024
    """Width of the velocity's network."""
    blocks: PositiveInt = 2
    """Residual blocks of it."""
    steps: PositiveInt = 4
    """Runge-Kutta steps from base to code."""
    probes: NonNegativeInt | None = None
    """Probe vectors that the divergence of the velocity is estimated with, the same for every code; 0 computes it
    exactly, at the cost of one probe a dimension. By default exact up to 32 dimensions, 8 probes beyond."""
    pairs: PositiveInt = 8
    """Times at which the surrogate looks at the velocity, each with two opposite noise vectors."""
    training_pairs: PositiveInt = 2
    """The same for each sample of a training step, drawn anew."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"hidden": 32, "blocks": 1},
        "small": {"hidden": 256},
        "medium": {"hidden": 512},
    }

    def probes_for(self, code: int) -> int:
        """How many probes a code of this size is given; 0 for an exact divergence."""
        if self.probes is not None:
            return self.probes
        return 0 if code <= _EXACT_UP_TO else _PROBES

    def plan(self, given: PriorInputs) -> Plan:
        if given.flow is not None:
            raise Mismatch(f"prior 'flow-matching' takes no flow but the spec names flow '{given.flow.name}'")
        driving = given.driving_shapes("flow-matching") if self.base == "driving" else {}
        return Plan(
            inputs={"code": (given.code,), **driving},
            outputs={"log_prob": ()},
            needs=("driving",) if driving else (),
        )
