"""Temporal priors of fitting: a random walk."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    yield Component(
        kind="temporal",
        name="random-walk",
        implementation="lipflow_temporal.random_walk:RandomWalk",
        config="lipflow_temporal.config:RandomWalkConfig",
        summary="Codes of consecutive frames differ by independent Gaussian steps",
        capabilities=frozenset({"cpu", "cuda"}),
    )
