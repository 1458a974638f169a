"""Defines the contract of metrics, which score decoded codes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from lipflow_core.interfaces.component import ComponentModule, check_shape
from lipflow_core.interfaces.state import State
from lipflow_core.records import Frame


class Metric(ComponentModule, ABC):
    """Computes one score for each sample. Implement `score`.

    The Config derives from `lipflow_core.config.MetricConfig`, whose class variables tell tables how to show the score.
    The plan's `needs` are those of objectives, without "prior", "posterior", "divergence" and regions. There are two
    more: "neighbours" for the decoded vertices of the frames before and after, and "pose" for the error of the driving
    cameras' pose (see `State`).
    """

    def forward(self, state: State, target: Frame) -> Tensor:
        """Score each sample.

        Args:
            state: B samples, with everything that the plan's `needs` name.
            target: Observations that the plan's `needs` name, B samples.

        Returns:
            (B,); NaN where a sample can't be scored.
        """
        result = self.score(state, target)
        check_shape(self, "score", result, "B", B=state.code.shape[0])
        return result

    @abstractmethod
    def score(self, state: State, target: Frame) -> Tensor:
        """Score each sample; arguments and result as in `forward`, which checks the result."""
