"""Prior `flow-matching`: a Gaussian refined by a velocity field, which training does not integrate."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    yield Component(
        kind="prior",
        name="flow-matching",
        implementation="lipflow_matching.prior:FlowMatchingPrior",
        config="lipflow_matching.config:FlowMatchingConfig",
        summary="Gaussian refined by a velocity field (flow matching), conditioned on the driving encoder or not",
        capabilities=frozenset({"cpu", "cuda"}),
    )
