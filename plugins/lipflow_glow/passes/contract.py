"""What every way through a folded flow gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lipflow_glow.couplings import HalfCoupling
from lipflow_glow.folding import FoldedWeights


class Passes(ABC):
    """A folded flow's passes.

    Args:
        weights: The folded flow; its matrices are copied, so that later changes of parameters do not reach them.

    Attributes:
        dtype: What codes and contexts must be of.
    """

    def __init__(self, weights: FoldedWeights):
        self.weights = weights
        self.dtype = weights.log_det.dtype

    @abstractmethod
    def bind(self, context: Tensor | None) -> Any:
        """Constants at contexts (B, h), or (1, h) or None for codes of any number."""

    @abstractmethod
    def select(self, constants: Any, index: Tensor) -> Any:
        """Those of some contexts: (N,) int64 or (B,) bool."""

    @abstractmethod
    def forward(self, code: Tensor, constants: Any, keep: bool) -> tuple[Tensor, Tensor, Any]:
        """The code mapped (B, D), log|det| (B,), and if `keep` what `backward` needs."""

    @abstractmethod
    def backward(self, kept: Any, constants: Any, gradient: Tensor, log_det_gradient: Tensor | None) -> Tensor:
        """The gradient with respect to the code from those with respect to the results; repeatable."""


class Bend(NamedTuple):
    """A coupling's elementwise part as a small autograd graph: leaves and results."""

    moved: Tensor
    parameters: Tensor
    result: Tensor
    log_det: Tensor

    @staticmethod
    def of(coupling: HalfCoupling, moved: Tensor, parameters: Tensor) -> Bend:
        """Bend copies of one half and its parameters, (B, T) and (B, T · parameters_per_feature)."""
        with torch.enable_grad():
            leaves = moved.clone().requires_grad_(), parameters.clone().requires_grad_()
            return Bend(*leaves, *coupling.bend(*leaves))

    def pull(self, gradient: Tensor, log_det_gradient: Tensor | None) -> tuple[Tensor, Tensor]:
        """Gradients with respect to both leaves."""
        results, gradients = [self.result], [gradient]
        if log_det_gradient is not None and self.log_det.requires_grad:
            results.append(self.log_det)
            gradients.append(log_det_gradient)
        return torch.autograd.grad(results, [self.moved, self.parameters], gradients, retain_graph=True)
