"""Priors of the LiP-Flow paper: `standard-normal` (DAM), `kl` (LiP-KL, Enc., Reg.) and `flow` (LiP-Flow, DAM-Flow)."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    yield Component(
        kind="prior",
        name="standard-normal",
        implementation="lipflow_priors.gaussian:StandardNormalPrior",
        config="lipflow_priors.config:StandardNormalConfig",
        summary="N(0, I), with KL(Q‖N(0, I)) as divergence; the paper's DAM",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="prior",
        name="kl",
        implementation="lipflow_priors.gaussian:DrivingGaussianPrior",
        config="lipflow_priors.config:DrivingGaussianConfig",
        summary="Gaussian of the driving encoder, with a KL or likelihood divergence; the paper's LiP-KL and DAM-Reg.",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="prior",
        name="flow",
        implementation="lipflow_priors.flow:FlowPrior",
        config="lipflow_priors.config:FlowPriorConfig",
        summary="Gaussian seen through a flow, conditioned on the driving encoder or not; LiP-Flow and DAM-Flow",
        capabilities=frozenset({"cpu", "cuda"}),
    )
