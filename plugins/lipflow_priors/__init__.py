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
        summary="N(0, I), tied to the posterior by KL(Q‖N(0, I)); the paper's DAM",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="prior",
        name="kl",
        implementation="lipflow_priors.gaussian:DrivingGaussianPrior",
        config="lipflow_priors.config:DrivingGaussianConfig",
        summary="The driving encoder's Gaussian, tied by KL or likelihood; the paper's LiP-KL and DAM-Reg.",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="prior",
        name="flow",
        implementation="lipflow_priors.flow:FlowPrior",
        config="lipflow_priors.config:FlowPriorConfig",
        summary="A Gaussian seen through a flow, conditioned on the driving encoder or not; LiP-Flow and DAM-Flow",
        capabilities=frozenset({"cpu", "cuda"}),
    )
