"""Prior `mixture`: a Gaussian mixture conditioned on the driving encoder, for ambiguous observations."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    yield Component(
        kind="prior",
        name="mixture",
        implementation="lipflow_mixture.prior:MixturePrior",
        config="lipflow_mixture.config:MixtureConfig",
        summary="Gaussian mixture around the driving encoder's Gaussian, with components predicted from its features",
        capabilities=frozenset({"cpu", "cuda"}),
    )
