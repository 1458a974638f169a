"""The contract of fitting objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lipflow_core.interfaces.component import ComponentModule, check_shape
from lipflow_core.interfaces.prior import ConditionedPrior
from lipflow_core.records import Camera, FaceState, Frame, Rendering, Template


@dataclass(frozen=True)
class FittingState:
    """Everything that is known of the rows being fitted at one step.

    Args:
        code: (B, D) the codes being fitted.
        prior: The prior given the driving signal of each row.
        template: The subject's template.
        face: Decoded face in millimetres and [0, 1]; vertices are always there if any objective needs them.
        renderings: Observation name → renderings of its N views, B·N pictures ordered sample by sample.
        cameras: Observation name → the cameras after the fitted pose, leading axes (B, N) (keypoints: (B,)).
    """

    code: Tensor
    prior: ConditionedPrior
    template: Template
    face: FaceState | None
    renderings: Mapping[str, Rendering]
    cameras: Mapping[str, Camera]


class FittingObjective(ComponentModule, ABC):
    """One term of what fitting minimises: a loss for each row.

    Implement `loss`. The Config has an option `weight` (see `ObjectiveConfig`); the core multiplies by it, so that it
    can differ from row to row in a grid search. The plan's `needs` name what must be made for it: "prior", "vertices",
    "render:NAME" for pictures of observation NAME, "target:NAME" for that observation itself.
    """

    def forward(self, state: FittingState, target: Frame) -> Tensor:
        """The unweighted loss of each row, (B,)."""
        result = self.loss(state, target)
        check_shape(self, "loss", result, "B", B=state.code.shape[0])
        return result

    @abstractmethod
    def loss(self, state: FittingState, target: Frame) -> Tensor:
        """What `forward` does, without its checks."""
