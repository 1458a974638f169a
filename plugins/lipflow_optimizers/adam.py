"""Optimizer `adam`: a state, step count and learning rate for each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lipflow_core.interfaces import LossAtPoint, Optimizer
from lipflow_core.records import Record

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@dataclass(frozen=True)
class RowAdam(Record):
    """The state of Adam (Kingma and Ba, 2015) for B independent rows of P parameters.

    torch's own Adam counts steps and keeps its learning rate for a whole tensor; here rows join and leave at any step.

    Args:
        first: (B, P) running mean of gradients.
        second: (B, P) running mean of squared gradients.
        steps: (B,) int64 number of updates.
        learning_rate: (B, P).
    """

    first: Tensor
    second: Tensor
    steps: Tensor
    learning_rate: Tensor

    @classmethod
    def start(cls, learning_rate: Tensor) -> Self:
        """Make the state before the first update; learning_rate: (B, P)."""
        steps = torch.zeros(learning_rate.shape[0], dtype=torch.int64, device=learning_rate.device)
        return cls(torch.zeros_like(learning_rate), torch.zeros_like(learning_rate), steps, learning_rate)

    def update(self, parameters: Tensor, gradient: Tensor) -> tuple[Tensor, Self]:
        """Update the parameters of every row once.

        Args:
            parameters: (B, P).
            gradient: (B, P).

        Returns:
            The new parameters (B, P) and the new state.
        """
        first = torch.lerp(self.first, gradient, 1 - _BETAS[0])
        second = torch.lerp(self.second, gradient.square(), 1 - _BETAS[1])
        steps = self.steps + 1
        count = steps[:, None].to(first.dtype)
        unbiased = first / (1 - _BETAS[0] ** count)
        spread = (second / (1 - _BETAS[1] ** count)).sqrt()
        moved = parameters - self.learning_rate * unbiased / (spread + _EPSILON)
        return moved, type(self)(first, second, steps, self.learning_rate)


class AdamOptimizer(Optimizer):
    """Adam on the code and, with a learning rate of its own, on the pose (paper, supplement H.2).

    Without a finite gradient a row moves by its momentum.
    """

    def start(self, parameters: Tensor, learning_rate: Tensor | None = None) -> RowAdam:
        rate = torch.full_like(parameters, self.config.learning_rate)
        if learning_rate is not None:
            rate = learning_rate[:, None].expand_as(parameters).contiguous()
        rate[:, self.given.code :] = self.config.pose_learning_rate
        return RowAdam.start(rate)

    def update(self, parameters: Tensor, evaluation: LossAtPoint, state: RowAdam) -> tuple[Tensor, RowAdam]:
        return state.update(parameters, evaluation.gradient)
