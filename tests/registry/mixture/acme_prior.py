"""A prior that is not shipped: one mixture of Gaussians for all codes, started from clusters of posterior samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import NonNegativeInt, PositiveInt

from lipflow_core.config import Config
from lipflow_core.hooks import Component, hookimpl
from lipflow_core.plans import Mismatch, Plan, PriorInputs


@hookimpl
def lipflow_components():
    yield Component(
        kind="prior",
        name="global-mixture",
        implementation="acme_prior_model:GlobalMixturePrior",
        config="acme_prior:GlobalMixtureConfig",
        summary="One mixture of Gaussians for all codes, started from clusters",
        capabilities=frozenset({"cpu", "cuda"}),
        aliases=("mog",),
    )


class GlobalMixtureConfig(Config):
    """Options of prior `global-mixture`."""

    components: PositiveInt = 16
    """Gaussians in the mixture."""
    rounds: NonNegativeInt = 10
    """Rounds of k-means on the codes that it starts from."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {"components": 3, "rounds": 2}}

    def plan(self, given: PriorInputs) -> Plan:
        """Takes the code alone; refuses a flow."""
        if given.flow is not None:
            raise Mismatch(f"prior 'global-mixture' has no use for a flow, but the spec names '{given.flow.name}'")
        return Plan(inputs={"code": (given.code,)}, outputs={"log_prob": ()})
