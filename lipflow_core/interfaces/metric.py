"""The contract of metrics: the scores of decoded codes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from lipflow_core.interfaces.component import ComponentModule, check_shape
from lipflow_core.interfaces.state import State
from lipflow_core.records import Frame


class Metric(ComponentModule, ABC):
    """One score of each sample. Implement `score`.

    Its Config derives from `lipflow_core.config.MetricConfig` and says how tables show it. The plan's `needs` are those
    of objectives, without "prior", "posterior", "divergence" and regions, and besides "neighbours" for the decoded
    vertices of the frames before and after, and "pose" for the error of the driving cameras' pose (see `State`).
    """

    def forward(self, state: State, target: Frame) -> Tensor:
        """Score each sample.

        Args:
            state: The samples, with what the plan needs.
            target: The observations that the plan needs, B samples.

        Returns:
            (B,); NaN where a sample can't be scored.
        """
        result = self.score(state, target)
        check_shape(self, "score", result, "B", B=state.code.shape[0])
        return result

    @abstractmethod
    def score(self, state: State, target: Frame) -> Tensor:
        """Compute what `forward` returns, without its checks."""
