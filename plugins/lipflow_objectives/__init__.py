"""What fitting minimises: the picture's error and the code's unlikeliness."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    yield Component(
        kind="objective",
        name="photometric",
        implementation="lipflow_objectives.photometric:PhotometricObjective",
        config="lipflow_objectives.config:PhotometricConfig",
        summary="Error of rendered pictures over the target's visible pixels",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="objective",
        name="latent-likelihood",
        implementation="lipflow_objectives.latent_likelihood:LatentLikelihoodObjective",
        config="lipflow_objectives.config:LatentLikelihoodConfig",
        summary="-log p(z) of the code under the prior, in nats per dimension",
        capabilities=frozenset({"cpu", "cuda"}),
    )
