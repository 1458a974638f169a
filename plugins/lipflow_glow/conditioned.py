"""A glow flow at fixed contexts: its folded form and the vector-Jacobian product, written by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lipflow_core.interfaces import ConditionedFlow, Flow
from lipflow_glow.passes.contract import Passes


class FoldedConditionedFlow(ConditionedFlow):
    """A glow flow with its context fixed and everything constant folded away (see `lipflow_glow.folding`).

    Gradients reach the code alone, once (not twice) differentiable. Inverses go through the flow itself.

    Args:
        flow: The flow, in evaluation mode.
        context: (B, h) or None.
        passes: The ways through its folded form.
        bind: Makes the constants at these contexts; called when first needed, since they take several times the
            context's memory.
    """

    def __init__(self, flow: Flow, context: Tensor | None, passes: Passes, bind: Callable[[], Any]):
        super().__init__(flow, context)
        self.passes = passes
        self._bind = bind

    @cached_property
    def constants(self) -> Any:
        """What depends on the contexts, as the passes want it."""
        return self._bind()

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        self.flow.check_inputs(code, self._context_of(code))
        # In the weights' precision under mixed precision too, as the flow itself.
        with torch.autocast(code.device.type, enabled=False):
            code = code.to(self.passes.dtype)
            if torch.is_grad_enabled() and code.requires_grad:
                return _FoldedMap.apply(code, self)
            with torch.no_grad():
                return self.passes.forward(code, self.constants, keep=False)[:2]

    def rows(self, index: Tensor) -> FoldedConditionedFlow:
        if self.context is None or self.context.shape[0] == 1:
            return self

        def bind() -> Any:
            return self.passes.select(self.constants, index)

        return FoldedConditionedFlow(self.flow, self.context[index], self.passes, bind)


class _FoldedMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx, code: Tensor, flow: FoldedConditionedFlow) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.flow = flow
        result, log_det, ctx.kept = flow.passes.forward(code, flow.constants, keep=True)
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
        return flow.passes.backward(ctx.kept, flow.constants, gradient, log_det_gradient), None
