"""Optimizer `lbfgs`: limited-memory BFGS with a history and a line search for each row."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipflow_core.interfaces import LossAtPoint, Optimizer
from lipflow_core.interfaces.optimizer import where_rows
from lipflow_core.records import Record

_DECREASE = 1e-4
_SLOPE = 0.9
"""Constants c₁ and c₂ of the weak Wolfe conditions."""
_MEMORY = 3
"""A step is taken if its loss is below the largest of so many last ones: pictures change in jumps, at pixel centres,
which would stop a method that only ever descends …"""
_SHORTEST = 0.05
"""… and a search whose step is shorter than this takes it whatever its loss, since jumps hide the slope."""


@dataclass(frozen=True)
class RowLbfgs(Record):
    """The state of L-BFGS for B independent rows of P parameters, with a history of m steps.

    Args:
        base: (B, P) parameters that the line search starts from.
        loss: (B,) loss there; infinite before the first evaluation.
        recent: (B, r) losses of the last bases.
        gradient: (B, P) gradient there.
        direction: (B, P) direction of the search.
        step: (B,) step of the trial that is evaluated next, in units of `direction`.
        shortest: (B,) largest step known to be too short.
        longest: (B,) smallest step known to be too long; infinite if there is none.
        moves: (B, m, P) past steps, newest last; zero where there is none.
        changes: (B, m, P) changes of the gradient by these steps.
        scale: (B,) inverse of the curvature of the newest step, for directions outside the history.
        promise: (B,) decrease of the loss that the model promises for a whole step.
    """

    base: Tensor
    loss: Tensor
    recent: Tensor
    gradient: Tensor
    direction: Tensor
    step: Tensor
    shortest: Tensor
    longest: Tensor
    moves: Tensor
    changes: Tensor
    scale: Tensor
    promise: Tensor


class LbfgsOptimizer(Optimizer):
    """L-BFGS (Nocedal, 1980) with a bisection for the weak Wolfe conditions (Lewis and Overton, 2013).

    The bisection needs no second derivative of the loss, so that it works where silhouettes bend the loss. A trial
    without a finite gradient counts as too long. torch's own L-BFGS couples the rows by one step for all.
    """

    def start(self, parameters: Tensor, learning_rate: Tensor | None = None) -> RowLbfgs:
        rows, size = parameters.shape
        zero, infinite = parameters.new_zeros(rows), parameters.new_full((rows,), torch.inf)
        history = parameters.new_zeros(rows, self.config.history, size)
        return RowLbfgs(
            base=parameters / self._unit(parameters),
            loss=infinite,
            recent=infinite[:, None].expand(-1, _MEMORY).contiguous(),
            gradient=torch.zeros_like(parameters),
            direction=torch.zeros_like(parameters),
            step=zero,
            shortest=zero,
            longest=infinite,
            moves=history,
            changes=history,
            scale=zero,
            promise=infinite,
        )

    def update(self, parameters: Tensor, evaluation: LossAtPoint, state: RowLbfgs) -> tuple[Tensor, RowLbfgs]:
        unit = self._unit(parameters)
        evaluation = replace(evaluation, gradient=evaluation.gradient * unit)
        moved, state = self._update(parameters / unit, evaluation, state)
        return moved * unit, state

    def _unit(self, parameters: Tensor) -> Tensor:
        """Return the unit (P,) of each parameter, in which the search counts it."""
        unit = torch.ones_like(parameters[:1])
        unit[:, self.given.code :] = self.config.pose_scale
        return unit

    def _update(self, parameters: Tensor, evaluation: LossAtPoint, state: RowLbfgs) -> tuple[Tensor, RowLbfgs]:
        first = state.loss.isinf()
        slope = _dot(state.gradient, state.direction)
        steep = evaluation.loss > state.recent.amax(dim=1) + _DECREASE * state.step * slope
        # A first evaluation has no search to go on with, and one that found nothing takes what it has.
        over = first | (evaluation.sound & (state.step < _SHORTEST))
        too_long = ~over & (steep | ~evaluation.sound)
        too_short = ~over & ~too_long & (_dot(evaluation.gradient, state.direction) < _SLOPE * slope)
        taken = ~too_long & ~too_short
        started = self._searched(parameters, evaluation, state, first)
        continued = _bracketed(state, too_long, too_short, evaluation.loss, slope)
        names = [name for name, _ in state.tensors()]
        state = RowLbfgs(**{n: where_rows(taken, getattr(started, n), getattr(continued, n)) for n in names})
        return state.base + state.step[:, None] * state.direction, state

    def converged(self, state: RowLbfgs) -> Tensor:
        return state.promise <= self.config.tolerance * state.loss.abs()

    def _searched(self, parameters: Tensor, evaluation: LossAtPoint, state: RowLbfgs, first: Tensor) -> RowLbfgs:
        """Take the trial as the new base, learn from the step, and begin the next search."""
        move, change = parameters - state.base, evaluation.gradient - state.gradient
        along, size = _dot(move, change), _dot(change, change)
        useful = ~first & (along > 1e-10 * size) & (along > 0)
        moves = where_rows(useful, _pushed(state.moves, move), state.moves)
        changes = where_rows(useful, _pushed(state.changes, change), state.changes)
        recent = torch.cat([state.recent[:, 1:], evaluation.loss[:, None]], dim=1)
        recent = torch.where(first[:, None], evaluation.loss[:, None], recent)
        scale = torch.where(useful, along / size.clamp(min=torch.finfo(size.dtype).tiny), state.scale)
        steepest = torch.linalg.vector_norm(evaluation.gradient, dim=1)
        scale = torch.where(scale > 0, scale, self.config.first_step / steepest.clamp(min=1e-30))
        direction = -_inverse_hessian_times(evaluation.gradient, moves, changes, scale)
        return replace(
            state,
            base=parameters,
            loss=evaluation.loss,
            recent=recent,
            gradient=evaluation.gradient,
            direction=direction,
            step=torch.ones_like(state.step),
            shortest=torch.zeros_like(state.step),
            longest=torch.full_like(state.step, torch.inf),
            moves=moves,
            changes=changes,
            scale=torch.where(useful, scale, state.scale),
            promise=-0.5 * _dot(evaluation.gradient, direction),
        )


def _bracketed(state: RowLbfgs, too_long: Tensor, too_short: Tensor, loss: Tensor, slope: Tensor) -> RowLbfgs:
    """Narrow the bracket by the trial and choose the next step: within it, or twice as long if it has no end."""
    longest = torch.where(too_long, state.step, state.longest)
    shortest = torch.where(too_short, state.step, state.shortest)
    # The minimum of the parabola through loss and slope of the base and the loss of the trial.
    parabola = -0.5 * slope * state.step.square() / (loss - state.loss - state.step * slope)
    inside = 0.1 * longest, 0.5 * longest
    shrunk = torch.where(parabola.isfinite(), parabola.clamp(*inside), inside[1])
    between = torch.where(shortest > 0, 0.5 * (shortest + longest), shrunk)
    return replace(state, step=torch.where(longest.isinf(), 2 * shortest, between), shortest=shortest, longest=longest)


def _inverse_hessian_times(vector: Tensor, moves: Tensor, changes: Tensor, scale: Tensor) -> Tensor:
    """Multiply vectors (B, P) by the rows' estimates of the inverse Hessian: the two-loop recursion."""
    along = (moves * changes).sum(dim=2)
    inverse = torch.where(along > 0, 1 / along.clamp(min=torch.finfo(along.dtype).tiny), 0)
    factors = []
    for i in reversed(range(moves.shape[1])):
        factors.append(inverse[:, i] * _dot(moves[:, i], vector))
        vector = vector - factors[-1][:, None] * changes[:, i]
    vector = scale[:, None] * vector
    for i, factor in enumerate(reversed(factors)):
        vector = vector + (factor - inverse[:, i] * _dot(changes[:, i], vector))[:, None] * moves[:, i]
    return vector


def _pushed(history: Tensor, newest: Tensor) -> Tensor:
    return torch.cat([history[:, 1:], newest[:, None]], dim=1)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(dim=1)
