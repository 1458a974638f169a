"""The contracts of flows and of the couplings that they are built from."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lipflow_core.interfaces.component import ComponentModule, check_shape


class Flow(ComponentModule, ABC):
    """An invertible map of codes, conditioned on a context: z^p = F(z^q; h), from Q's space to P's.

    Implement `transform` and `invert`; override `condition` where fixing the context lets work be folded away, and
    `initialize` where parameters are set from data. log|det| is of the Jacobian of the direction asked for.
    """

    def forward(self, code: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map codes of Q's space to P's.

        Args:
            code: (B, D).
            context: (B, h); None for an unconditional flow.

        Returns:
            Codes (B, D) and log|det ∂F/∂z| (B,).
        """
        self.check_inputs(code, context)
        return self.transform(code, context)

    def inverse(self, code: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map codes of P's space back to Q's; arguments and results as in `forward`."""
        self.check_inputs(code, context)
        return self.invert(code, context)

    @abstractmethod
    def transform(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """What `forward` does, without its checks."""

    @abstractmethod
    def invert(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """What `inverse` does, without its checks."""

    def condition(self, context: Tensor | None) -> ConditionedFlow:
        """The flow with its context fixed, for many evaluations at the same context, in evaluation mode.

        Args:
            context: (B, h); None for an unconditional flow.
        """
        return ConditionedFlow(self, context)

    @property
    def initialized(self) -> bool:
        """Whether parameters that are set from data have been set."""
        return True

    def initialize(self, code: Tensor, context: Tensor | None) -> None:
        """Set such parameters from codes accumulated over many batches; called once before training.

        Args:
            code: (N, D) with N ≥ 256 where the capture has that many.
            context: (N, h) or None.
        """

    def check_inputs(self, code: Tensor, context: Tensor | None) -> None:
        """Refuse codes and contexts that are not what `forward` takes.

        Raises:
            ValueError: Naming the flow, what is wrong and what is expected.
        """
        check_shape(self, "code", code, "B D", D=self.given.features)
        if self.given.context == 0:
            if context is not None:
                raise ValueError(f"{type(self).__name__}: this flow is unconditional, but a context was given")
        elif context is None:
            raise ValueError(f"{type(self).__name__}: this flow needs a context (B, {self.given.context})")
        else:
            check_shape(self, "context", context, "B h", B=code.shape[0], h=self.given.context)


class ConditionedFlow:
    """A flow with its context fixed. This one keeps the flow and the context; faster ones fold them.

    Args:
        flow: The flow, in evaluation mode.
        context: (B, h); (1, h) for one context shared by codes of any number; or None.
    """

    def __init__(self, flow: Flow, context: Tensor | None):
        self.flow = flow
        self.context = context

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """`Flow.forward` at the fixed context; code: (B, D)."""
        return self.flow(code, self._context_of(code))

    def inverse(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """`Flow.inverse` at the fixed context; code: (B, D)."""
        return self.flow.inverse(code, self._context_of(code))

    def _context_of(self, code: Tensor) -> Tensor | None:
        """The context of each code; a shared one expanded."""
        if self.context is not None and self.context.shape[0] == 1:
            return self.context.expand(code.shape[0], -1)
        return self.context

    def rows(self, index: Tensor) -> ConditionedFlow:
        """The same for the samples that `index` names, (N,) int64 (repeats allowed) or (B,) bool.

        One that serves codes of any number, with no context or a shared one, stays as it is.
        """
        if self.context is None or self.context.shape[0] == 1:
            return self
        return ConditionedFlow(self.flow, self.context[index])


class Coupling(ComponentModule, ABC):
    """One coupling layer of a flow: transforms half of the features given the other half and the context.

    Implement `transform` and `invert`, with shapes as in `Flow`.
    """

    def forward(self, code: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Transform; code (B, D), context (B, h) or None → code (B, D), log|det| (B,)."""
        check_shape(self, "code", code, "B D", D=self.given.features)
        return self.transform(code, context)

    def inverse(self, code: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`; shapes as there."""
        check_shape(self, "code", code, "B D", D=self.given.features)
        return self.invert(code, context)

    @abstractmethod
    def transform(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """What `forward` does, without its checks."""

    @abstractmethod
    def invert(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """What `inverse` does, without its checks."""


def no_log_det(code: Tensor) -> Tensor:
    """log|det| of a volume-preserving map: zeros (B,)."""
    return torch.zeros(code.shape[0], dtype=code.dtype, device=code.device)
