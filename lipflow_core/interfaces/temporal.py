"""The contract of temporal priors, which tie the codes of consecutive frames to each other."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from lipflow_core.config import TemporalConfig
from lipflow_core.interfaces.component import ComponentModule, check_shape
from lipflow_core.plans import TemporalInputs


class TemporalPrior(ComponentModule, ABC):
    """A density over the codes of a run: frames of one segment whose numbers follow each other.

    Implement `energy`. A fit adds it to the losses of its frames, times the option `weight` (see
    `lipflow_core.config.TemporalConfig`), and fits the frames of a run together. The plan's `needs` name "base" if the
    density is one of points in the prior's base space (`ConditionedPrior.to_base`); otherwise it is one of codes.

    Args:
        config: Options of the temporal prior.
        given: Inputs of the temporal prior: size of the code.
    """

    config: TemporalConfig
    given: TemporalInputs

    def forward(self, path: Tensor, follows: Tensor) -> Tensor:
        """Compute each frame's share of the energy of its run.

        Args:
            path: (N, D) points of the frames, run by run and in order within each.
            follows: (N,) bool, whether the frame comes right after the frame in the row before; False for the first
                frame of a run.

        Returns:
            (N,) nats per dimension. The shares of a run add up to −log p(run) / D up to a constant; a frame's share
            depends on the frames of its run alone.
        """
        check_shape(self, "path", path, "N D", D=self.given.code)
        check_shape(self, "follows", follows, "N", N=path.shape[0])
        result = self.energy(path, follows)
        check_shape(self, "energy", result, "N", N=path.shape[0])
        return result

    @abstractmethod
    def energy(self, path: Tensor, follows: Tensor) -> Tensor:
        """Compute the shares of the energy; arguments and result as in `forward`, which checks the shapes.

        It must be differentiable in `path`. A run may be a single frame.
        """
