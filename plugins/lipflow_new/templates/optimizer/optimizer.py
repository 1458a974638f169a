"""Optimizer `skeleton-name`: a step of each parameter that grows and shrinks with its gradient's signs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lipflow_core.interfaces import LossAtPoint, Optimizer
from lipflow_core.records import Record


@dataclass(frozen=True)
class SkeletonState(Record):
    """State of B rows: step of each parameter (B, P), and sign of its last gradient (B, P)."""

    step: Tensor
    sign: Tensor


class Skeleton(Optimizer):
    """Moves each parameter against its gradient's sign; steps grow by 1.2 while the sign stays, else they halve."""

    def start(self, parameters: Tensor, learning_rate: Tensor | None = None) -> SkeletonState:
        step = torch.full_like(parameters, self.config.learning_rate)
        if learning_rate is not None:
            step = learning_rate[:, None].expand_as(parameters)
        return SkeletonState(step, torch.zeros_like(parameters))

    def update(self, parameters: Tensor, evaluation: LossAtPoint, state: SkeletonState) -> tuple[Tensor, SkeletonState]:
        sign = evaluation.gradient.sign()
        agreement = sign * state.sign
        factor = torch.where(agreement > 0, 1.2, torch.where(agreement < 0, 0.5, 1.0))
        step = state.step * factor.to(state.step)
        return parameters - step * sign, SkeletonState(step, sign)
