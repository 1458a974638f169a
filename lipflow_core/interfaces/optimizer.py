"""The contract of optimizers, which move the codes of a fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lipflow_core.config import Config
from lipflow_core.plans import OptimizerInputs, Plan
from lipflow_core.records import Record


@dataclass(frozen=True)
class LossAtPoint:
    """The total loss of B rows at their parameters, and its derivatives.

    Args:
        loss: (B,) total loss. Rows whose loss is not finite have stopped, and what becomes of them is not read.
        gradient: (B, P) gradient of each row's loss; zero in rows where it is not finite.
        sound: (B,) bool, whether the gradient was finite.
        curvature: Computes, for rows (N,) int64, the Gauss–Newton matrices (N, P, P) of their losses at the present
            parameters: symmetric, positive semi-definite, near the Hessian if the residuals are small. It costs about P
            evaluations of these rows. Only for optimizers whose plan needs "curvature".
    """

    loss: Tensor
    gradient: Tensor
    sound: Tensor
    curvature: Callable[[Tensor], Tensor]


class Optimizer(ABC):
    """Minimises the losses of rows; it is asked for the next parameters after each evaluation.

    Implement `start` and `update`. Everything that an optimizer remembers of a row is in its state, a `Record` whose
    tensors all begin with the axis of rows: rows join and leave between two updates. The core keeps each row's best
    parameters, counts steps, and stops rows; a trial step of a line search is therefore one step.

    Rows are independent, unless the plan says `coupled_rows=True`: then a temporal prior may couple them. A row's loss
    depends on rows beside it that move at the same time, and its gradient is that of the sum of all losses.

    Args:
        config: Options of the optimizer.
        given: Inputs of the optimizer: numbers of parameters of the code and of the pose.
    """

    def __init__(self, config: Config, given: OptimizerInputs):
        self.config = config
        self.given = given
        self.planned: Plan = config.plan(given)

    @abstractmethod
    def start(self, parameters: Tensor, learning_rate: Tensor | None = None) -> Record:
        """Make the state of rows before their first evaluation.

        Args:
            parameters: (B, P) start of each row: code, then pose if it is fitted.
            learning_rate: (B,) learning rate of each row's code, from a grid search, in place of the option
                `learning_rate`. Always None for optimizers without that option.
        """

    @abstractmethod
    def update(self, parameters: Tensor, evaluation: LossAtPoint, state: Record) -> tuple[Tensor, Record]:
        """Choose the parameters that are evaluated next; each row depends on itself alone.

        Args:
            parameters: (B, P) evaluated parameters: the result of the last update, or the start.
            evaluation: Losses and derivatives at these parameters.
            state: State of the rows.

        Returns:
            The next parameters (B, P), and the new state.
        """

    def converged(self, state: Record) -> Tensor | None:
        """Tell which rows have converged, (B,) bool, so that another step is not worth its cost.

        The core asks after each update. None, the default, means that no row ever does; rows then end by `steps` and
        `patience`.
        """
        return None


def where_rows(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Take chosen rows (B,) bool from one tensor (B, …) and the rest from another."""
    return torch.where(chosen.view(-1, *[1] * (one.ndim - 1)), one, other)
