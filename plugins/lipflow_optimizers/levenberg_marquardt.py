"""Optimizer `levenberg-marquardt`: damped Gauss–Newton steps for each row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lipflow_core.interfaces import LossAtPoint, Optimizer
from lipflow_core.interfaces.optimizer import where_rows
from lipflow_core.records import Record

_MEMORY = 3
"""A step is taken if its loss is below the largest of so many last ones: pictures change in jumps, at pixel centres,
which would stop a method that only ever descends …"""
_LARGEST_GROWTH = 16.0
"""… and after three failures in a row the next trial is taken whatever its loss, and its gradient tried."""


@dataclass(frozen=True)
class RowLevenbergMarquardt(Record):
    """The state of B independent rows of P parameters.

    Args:
        base: (B, P) parameters of the last step that was taken.
        loss: (B,) loss there; infinite before the first evaluation.
        recent: (B, m) losses of the last bases.
        gradient: (B, P) gradient there.
        matrix: (B, P, P) estimate of the Hessian.
        age: (B,) int64 updates since the matrix was computed.
        damping: (B,) factor on the matrix's diagonal.
        growth: (B,) factor on the damping after the next failure.
        promise: (B,) decrease that the model promises for the trial that is evaluated next.
    """

    base: Tensor
    loss: Tensor
    recent: Tensor
    gradient: Tensor
    matrix: Tensor
    age: Tensor
    damping: Tensor
    growth: Tensor
    promise: Tensor


class LevenbergMarquardtOptimizer(Optimizer):
    """Solves (H + λ diag H) d = −g for each row, with exact gradients g and Nielsen's rule for the damping λ (1999).

    H is the Gauss–Newton matrix of the start. Computing it costs about as much as P evaluations, so it is kept, and
    each new gradient corrects it (BFGS); it is computed anew after `refresh` steps.
    """

    def start(self, parameters: Tensor, learning_rate: Tensor | None = None) -> RowLevenbergMarquardt:
        rows, size = parameters.shape
        infinite = parameters.new_full((rows,), torch.inf)
        return RowLevenbergMarquardt(
            base=parameters,
            loss=infinite,
            recent=infinite[:, None].expand(-1, _MEMORY).contiguous(),
            gradient=torch.zeros_like(parameters),
            matrix=parameters.new_zeros(rows, size, size),
            age=torch.full((rows,), self.config.refresh, dtype=torch.int64, device=parameters.device),
            damping=parameters.new_full((rows,), self.config.damping),
            growth=parameters.new_full((rows,), 2.0),
            promise=infinite,
        )

    def update(
        self, parameters: Tensor, evaluation: LossAtPoint, state: RowLevenbergMarquardt
    ) -> tuple[Tensor, RowLevenbergMarquardt]:
        first = state.loss.isinf()
        hopeless = state.growth >= _LARGEST_GROWTH
        taken = evaluation.sound & (hopeless | (evaluation.loss < state.recent.amax(dim=1)))
        share = torch.where(first, 1.0, (state.loss - evaluation.loss) / state.promise)
        matrix = _corrected(state.matrix, parameters - state.base, evaluation.gradient - state.gradient)
        matrix = where_rows(evaluation.sound & ~first, matrix, state.matrix)
        base = where_rows(taken, parameters, state.base)
        gradient = where_rows(taken, evaluation.gradient, state.gradient)
        age = state.age + 1
        old = taken & (age >= self.config.refresh)
        index = old.nonzero()[:, 0]
        if len(index):
            matrix = matrix.index_copy(0, index, _usable(evaluation.curvature(index)))
        age = torch.where(old, 0, age)
        shrunk = state.damping * (1 - (2 * share.clamp(0, 1) - 1) ** 3).clamp(min=1 / 3)
        shrunk = torch.where(first | hopeless, self.config.damping, shrunk)
        damping = torch.where(taken, shrunk, state.damping * state.growth)
        growth = torch.where(taken, 2.0, 2 * state.growth)
        move = _damped_step(matrix, gradient, damping)
        promise = -(gradient * move).sum(1) - 0.5 * torch.einsum("bi,bij,bj->b", move, matrix, move)
        loss = torch.where(taken, evaluation.loss, state.loss)
        recent = torch.where(first[:, None], loss[:, None], torch.cat([state.recent[:, 1:], loss[:, None]], dim=1))
        recent = where_rows(taken, recent, state.recent)
        state = RowLevenbergMarquardt(
            base, loss, recent, gradient, matrix, age, damping.clamp(1e-9, 1e9), growth, promise
        )
        return base + move, state

    def converged(self, state: RowLevenbergMarquardt) -> Tensor:
        return state.promise <= self.config.tolerance * state.loss.abs()


def _usable(matrix: Tensor) -> Tensor:
    """Replace matrices that are not finite, since a parameter beside the row's gave no picture, by the identity."""
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    return where_rows(matrix.isfinite().all(dim=2).all(dim=1), matrix, identity)


def _damped_step(matrix: Tensor, gradient: Tensor, damping: Tensor) -> Tensor:
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    # Directions that no residual sees are damped as if they were a little curved.
    floor = 1e-6 * diagonal.amax(dim=1, keepdim=True).clamp(min=1e-12)
    damped = matrix + torch.diag_embed(damping[:, None] * diagonal.clamp(min=floor) + floor)
    factor, failed = torch.linalg.cholesky_ex(damped)
    move = -torch.cholesky_solve(gradient[:, :, None], factor)[:, :, 0]
    usable = (failed == 0) & move.isfinite().all(dim=1)
    return torch.where(usable[:, None], move, -gradient / diagonal.amax(dim=1, keepdim=True).clamp(min=1e-12))


def _corrected(matrix: Tensor, move: Tensor, change: Tensor) -> Tensor:
    """Correct a matrix so that it maps a step to the gradient's change (BFGS), where that keeps it positive."""
    mapped = torch.einsum("bij,bj->bi", matrix, move)
    along, before = (move * change).sum(1), (move * mapped).sum(1)
    usable = (along > 1e-3 * before) & (before > 0)
    added = change[:, :, None] * change[:, None] / torch.where(usable, along, 1)[:, None, None]
    removed = mapped[:, :, None] * mapped[:, None] / torch.where(usable, before, 1)[:, None, None]
    return where_rows(usable, matrix + added - removed, matrix)
