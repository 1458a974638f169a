"""The contract of objectives: the terms that training and fitting minimise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

from lipflow_core.interfaces.component import ComponentModule, check_shape
from lipflow_core.interfaces.state import State
from lipflow_core.records import Frame, Residuals

Term = TypeVar("Term")


class Objective(ComponentModule, ABC):
    """One term of what a training stage or a fit minimises: a loss for each sample.

    Implement `loss`. The Config has an option `weight` (see `lipflow_core.config.ObjectiveConfig`); the core multiplies
    by it, so that it can be ramped over a stage and differ from row to row of a grid search. The plan's `needs` name
    what must be made for it: "vertices"; "render:NAME" for pictures of observation NAME; "target:NAME" for that
    observation itself; "prior" (fitting only); "posterior" and "divergence" (training only).
    """

    def forward(self, state: State, target: Frame) -> Tensor:
        """Compute the unweighted loss of each sample.

        Args:
            state: The samples, with what the plan needs.
            target: The observations that the plan needs, B samples.

        Returns:
            (B,).
        """
        result = self.loss(state, target)
        check_shape(self, "loss", result, "B", B=state.code.shape[0])
        return result

    @abstractmethod
    def loss(self, state: State, target: Frame) -> Tensor:
        """Compute what `forward` returns, without its checks."""

    def residuals(self, state: State, target: Frame) -> Residuals | None:
        """Compute the residuals whose weighted squares add up to `loss`, for optimizers that use curvature.

        None, the default, says that the loss is no sum of squares; it then takes part by its gradient alone.
        """
        return None


def numbered(names: Sequence[str], terms: Sequence[Term]) -> dict[str, Term]:
    """Name objectives or metrics apart: a second one of a name gets "#2" and so on."""
    found: dict[str, Term] = {}
    for name, term in zip(names, terms, strict=True):
        copies = sum(existing.split("#")[0] == name for existing in found)
        found[name if copies == 0 else f"{name}#{copies + 1}"] = term
    return found
