"""Wrong optimizers."""

from __future__ import annotations

from dataclasses import replace

import torch
from lipflow_optimizers.adam import AdamOptimizer


class Still(AdamOptimizer):
    def update(self, parameters, evaluation, state):
        return parameters, super().update(parameters, evaluation, state)[1]


class Coupled(AdamOptimizer):
    """Scales every row's step by the mean loss."""

    def update(self, parameters, evaluation, state):
        moved, state = super().update(parameters, evaluation, state)
        return torch.lerp(parameters, moved, 1 / (1 + 0.01 * evaluation.loss.nanmean())), state


class Counting(AdamOptimizer):
    """Counts updates for all rows together."""

    count = 0

    def update(self, parameters, evaluation, state):
        moved, state = super().update(parameters, evaluation, state)
        self.count += 1
        return torch.lerp(parameters, moved, 1 / (1 + 0.01 * self.count)), state

    def start(self, parameters, learning_rate=None):
        self.count = 0
        return super().start(parameters, learning_rate)


class Panicking(AdamOptimizer):
    def update(self, parameters, evaluation, state):
        if not evaluation.loss.isfinite().all():
            return parameters, state
        return super().update(parameters, evaluation, state)


class Dividing(AdamOptimizer):
    def update(self, parameters, evaluation, state):
        length = torch.linalg.vector_norm(evaluation.gradient, dim=1, keepdim=True)
        return super().update(parameters, replace(evaluation, gradient=evaluation.gradient / length), state)


class Double(AdamOptimizer):
    def update(self, parameters, evaluation, state):
        moved, state = super().update(parameters, evaluation, state)
        return moved.double(), state


class NeverEmpty(AdamOptimizer):
    def update(self, parameters, evaluation, state):
        if len(parameters) == 0:
            raise ValueError("no rows")
        return super().update(parameters, evaluation, state)


class Global(AdamOptimizer):
    def update(self, parameters, evaluation, state):
        torch.rand(1)
        return super().update(parameters, evaluation, state)


class InPlace(AdamOptimizer):
    def update(self, parameters, evaluation, state):
        moved, state = super().update(parameters, evaluation, state)
        return parameters.copy_(moved), state


class Deaf(AdamOptimizer):
    def start(self, parameters, learning_rate=None):
        return super().start(parameters)


class Sociable(AdamOptimizer):
    """Converges once it is alone."""

    def converged(self, state):
        rows = len(next(tensor for _, tensor in state.tensors()))
        return torch.full((rows,), rows == 1)


class Curious(AdamOptimizer):
    def update(self, parameters, evaluation, state):
        evaluation.curvature(torch.arange(len(parameters)))
        return super().update(parameters, evaluation, state)
