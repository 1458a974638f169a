"""The flow `glow` at fixed contexts: its folded form with a hand-written gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lipflow_core.interfaces import ConditionedFlow, Flow
from lipflow_glow.folding import BoundNet
from lipflow_glow.passes.walk import Passes


class FoldedConditionedFlow(ConditionedFlow):
    """A glow flow whose context is fixed and whose constants are folded away (see `lipflow_glow.folding`).

    Gradients reach the code only, and cannot be differentiated again. Inverses go through the flow itself.

    Args:
        flow: The flow, in evaluation mode.
        context: (B, h), (1, h) for codes of any number, or None.
        passes: The folded flow.
        bind: Computes the constants at these contexts. It is called on first use, since the constants take several
            times the memory of the contexts.
    """

    def __init__(self, flow: Flow, context: Tensor | None, passes: Passes, bind: Callable[[], tuple[BoundNet, ...]]):
        super().__init__(flow, context)
        self.passes = passes
        self._bind = bind

    @cached_property
    def constants(self) -> tuple[BoundNet, ...]:
        """The constants of each step at the contexts."""
        return self._bind()

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        self.flow.check_inputs(code, self._context_of(code))
        # Like the flow itself, this ignores mixed precision.
        with torch.autocast(code.device.type, enabled=False):
            code = code.to(self.passes.dtype)
            if torch.is_grad_enabled() and code.requires_grad:
                return _FoldedMap.apply(code, self)
            with torch.no_grad():
                return self.passes.forward(code, self.constants, keep=False)[:2]

    def rows(self, index: Tensor) -> FoldedConditionedFlow:
        if self.context is None or self.context.shape[0] == 1:
            return self

        def bind() -> tuple[BoundNet, ...]:
            return tuple(net.rows(index) for net in self.constants)

        return FoldedConditionedFlow(self.flow, self.context[index], self.passes, bind)


class _FoldedMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx, code: Tensor, flow: FoldedConditionedFlow) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.flow = flow
        result, log_det, ctx.traces = flow.passes.forward(code, flow.constants, keep=True)
        if flow.flow.planned.volume_preserving:
            ctx.mark_non_differentiable(log_det)
        return result, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor | None, log_det_gradient: Tensor | None) -> tuple[Tensor | None, None]:
        flow = ctx.flow
        if gradient is None:
            if log_det_gradient is None:
                return None, None
            gradient = log_det_gradient.new_zeros(len(log_det_gradient), flow.flow.given.features)
        return flow.passes.backward(ctx.traces, flow.constants, gradient, log_det_gradient), None
