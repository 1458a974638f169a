"""Objectives of training and fitting: errors of pictures and of geometry, divergence and likelihood of the prior."""

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
        summary="Error of rendered pictures over the target's masked pixels",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="objective",
        name="geometry",
        implementation="lipflow_objectives.geometry:GeometryObjective",
        config="lipflow_objectives.config:GeometryConfig",
        summary="Squared error of standardised vertices against the tracked mesh",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="objective",
        name="divergence",
        implementation="lipflow_objectives.latent:DivergenceObjective",
        config="lipflow_objectives.config:DivergenceConfig",
        summary="Divergence of Q's posterior from the prior, in nats per dimension (training)",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="objective",
        name="latent-likelihood",
        implementation="lipflow_objectives.latent:LatentLikelihoodObjective",
        config="lipflow_objectives.config:LatentLikelihoodConfig",
        summary="-log p(z) of the code under the prior, in nats per dimension (fitting)",
        capabilities=frozenset({"cpu", "cuda"}),
    )
