"""Prior `flow-student`: the paper's flow prior with a Student-t base, whose heavy tails tolerate outliers."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    yield Component(
        kind="prior",
        name="flow-student",
        implementation="lipflow_student.prior:StudentFlowPrior",
        config="lipflow_student.config:StudentFlowConfig",
        summary="Student-t seen through a flow, conditioned on the driving encoder or not",
        capabilities=frozenset({"cpu", "cuda"}),
    )
