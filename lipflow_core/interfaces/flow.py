"""Defines the contracts of flows and of the couplings that they are built from."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lipflow_core.interfaces.component import ComponentModule, check_shape


class InvertibleMap(ComponentModule, ABC):
    """Maps codes invertibly, given a context or unconditionally: what flows and couplings share.

    Implement `transform` and `invert`. Each returns log|det| of its own Jacobian.
    """

    def forward(self, code: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map codes, after checking their shapes.

        Args:
            code: (B, D).
            context: (B, h); None if the map is unconditional.

        Returns:
            Codes (B, D) and log|det| of the Jacobian (B,).

        Raises:
            ValueError: If code or context has another shape, or a context is missing or not expected.
        """
        self.check_inputs(code, context)
        return self.transform(code, context)

    def inverse(self, code: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`; arguments and results as there."""
        self.check_inputs(code, context)
        return self.invert(code, context)

    @abstractmethod
    def transform(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map codes; arguments and results as in `forward`, shapes already checked."""

    @abstractmethod
    def invert(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Undo `transform`; arguments and results as in `inverse`, shapes already checked."""

    def check_inputs(self, code: Tensor, context: Tensor | None) -> None:
        """Check the shapes of code and context.

        Raises:
            ValueError: If `forward` does not take them; the message names the component and what it takes.
        """
        check_shape(self, "code", code, "B D", D=self.given.features)
        if self.given.context == 0:
            if context is not None:
                raise ValueError(f"{type(self).__name__}: this component is unconditional, but a context was given")
        elif context is None:
            raise ValueError(f"{type(self).__name__}: this component needs a context (B, {self.given.context})")
        else:
            check_shape(self, "context", context, "B h", B=code.shape[0], h=self.given.context)


class Flow(InvertibleMap):
    """Maps codes from Q's space to P's, conditioned on a context: z^p = F(z^q; h).

    Implement `transform` and `invert`. Override `condition` if a fixed context allows work to be done once, and
    `initialize` if parameters are set from data.
    """

    def condition(self, context: Tensor | None) -> ConditionedFlow:
        """Fix the context, for many evaluations at the same context in evaluation mode.

        Args:
            context: (B, h); None for an unconditional flow.
        """
        return ConditionedFlow(self, context)

    @property
    def initialized(self) -> bool:
        """Whether the parameters that are set from data are set; True if there are none."""
        return True

    def initialize(self, code: Tensor, context: Tensor | None) -> None:
        """Set parameters from codes of many batches; called once before training.

        Args:
            code: (N, D) with N ≥ 256 where the capture has that many.
            context: (N, h), or None for an unconditional flow.
        """


class ConditionedFlow:
    """A flow with a fixed context. This class keeps the flow and the context; subclasses may precompute from them.

    Args:
        flow: Flow in evaluation mode.
        context: (B, h), one for each code; (1, h), shared by any number of codes; or None.
    """

    def __init__(self, flow: Flow, context: Tensor | None):
        self.flow = flow
        self.context = context

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Map codes (B, D) of Q's space to P's at the fixed context, as `Flow.forward` does."""
        return self.flow(code, self._context_of(code))

    def inverse(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Map codes (B, D) of P's space back to Q's at the fixed context, as `Flow.inverse` does."""
        return self.flow.inverse(code, self._context_of(code))

    def _context_of(self, code: Tensor) -> Tensor | None:
        """Expand a shared context to one for each code."""
        if self.context is not None and self.context.shape[0] == 1:
            return self.context.expand(code.shape[0], -1)
        return self.context

    def rows(self, index: Tensor) -> ConditionedFlow:
        """Select the contexts of some samples; index: (N,) int64 (repeats allowed) or (B,) bool.

        Without a context, or with a shared one, the result is the same object.
        """
        if self.context is None or self.context.shape[0] == 1:
            return self
        return ConditionedFlow(self.flow, self.context[index])


class Coupling(InvertibleMap):
    """Transforms half of the features given the other half and the context; flows are built from such layers."""


def no_log_det(code: Tensor) -> Tensor:
    """Return log|det| of a volume-preserving map: zeros (B,)."""
    return torch.zeros(code.shape[0], dtype=code.dtype, device=code.device)
