"""Defines the contract of objectives, the terms that training and fitting minimise."""

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
    """Computes one term of the loss that a training stage or a fit minimises, a value for each sample.

    Implement `loss`. The Config has an option `weight` (see `lipflow_core.config.ObjectiveConfig`); the core multiplies
    by it, so that it can be ramped over a stage and differ from row to row of a grid search. The plan's `needs` name
    what the core must compute or load: "vertices"; "render:NAME" for renderings of observation NAME; "target:NAME" for
    that observation itself; "region:NAME:REGION" to restrict the mask of observation NAME to a region of the tracked
    surface, or to several (fitting only); "prior" (fitting only); "posterior" and "divergence" (training only).
    """

    def forward(self, state: State, target: Frame) -> Tensor:
        """Compute the unweighted loss of each sample.

        Args:
            state: B samples, with everything that the plan's `needs` name.
            target: Observations that the plan's `needs` name, B samples.

        Returns:
            (B,).
        """
        result = self.loss(state, target)
        check_shape(self, "loss", result, "B", B=state.code.shape[0])
        return result

    @abstractmethod
    def loss(self, state: State, target: Frame) -> Tensor:
        """Compute the loss of each sample; arguments and result as in `forward`, which checks the result."""

    def residuals(self, state: State, target: Frame) -> Residuals | None:
        """Compute the residuals whose weighted squares add up to `loss`, for optimizers that use curvature.

        None, the default, says that the loss is no sum of squares; it then takes part by its gradient alone.
        """
        return None


def numbered(names: Sequence[str], terms: Sequence[Term]) -> dict[str, Term]:
    """Give objectives or metrics unique names: a second one of the same name gets "#2" and so on."""
    found: dict[str, Term] = {}
    for name, term in zip(names, terms, strict=True):
        copies = sum(existing.split("#")[0] == name for existing in found)
        found[name if copies == 0 else f"{name}#{copies + 1}"] = term
    return found
