"""Optimizers of fitting: the paper's Adam, L-BFGS, and Levenberg-Marquardt."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    yield Component(
        kind="optimizer",
        name="adam",
        implementation="lipflow_optimizers.adam:AdamOptimizer",
        config="lipflow_optimizers.config:AdamConfig",
        summary="Adam with a state for each row, as in the paper",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="optimizer",
        name="lbfgs",
        implementation="lipflow_optimizers.lbfgs:LbfgsOptimizer",
        config="lipflow_optimizers.config:LbfgsConfig",
        summary="L-BFGS with a line search for each row",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="optimizer",
        name="levenberg-marquardt",
        implementation="lipflow_optimizers.levenberg_marquardt:LevenbergMarquardtOptimizer",
        config="lipflow_optimizers.config:LevenbergMarquardtConfig",
        summary="Damped Gauss-Newton steps whose matrix is kept and corrected by each new gradient",
        capabilities=frozenset({"cpu", "cuda"}),
        aliases=("lm",),
    )
