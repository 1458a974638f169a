"""A glow flow at fixed contexts: its folded form and the vector-Jacobian product, written by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lipflow_core.interfaces import ConditionedFlow, Flow
from lipflow_glow.couplings import AdditiveCoupling
from lipflow_glow.folding import BoundNet, FoldedStep, FoldedWeights


class Bend(NamedTuple):
    """A coupling's elementwise part as a small autograd graph: leaves and results."""

    moved: Tensor
    parameters: Tensor
    result: Tensor
    log_det: Tensor


class Trace(NamedTuple):
    """What one step's forward pass leaves for its gradient; `bend` is None for an additive coupling."""

    net: list[Tensor]
    bend: Bend | None


class FoldedConditionedFlow(ConditionedFlow):
    """A glow flow with its context fixed and everything constant folded away (see `lipflow_glow.folding`).

    Gradients reach the code alone, once (not twice) differentiable. Inverses go through the flow itself.

    Args:
        flow: The flow, in evaluation mode.
        context: (B, h) or None.
        weights: Its folded weights.
        bind: Makes the steps' constants at these contexts; called when first needed, since they take several times
            the context's memory.
    """

    def __init__(
        self,
        flow: Flow,
        context: Tensor | None,
        weights: FoldedWeights,
        bind: Callable[[], tuple[BoundNet, ...]],
    ):
        super().__init__(flow, context)
        self.weights = weights
        self._bind = bind

    @cached_property
    def constants(self) -> tuple[BoundNet, ...]:
        """Per step, its constants at these contexts."""
        return self._bind()

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        self.flow._check(code, self._context_of(code))
        if torch.is_grad_enabled() and code.requires_grad:
            return _FoldedMap.apply(code, self)
        return self.run(code, None)

    def rows(self, index: Tensor) -> FoldedConditionedFlow:
        if self.context is None or self.context.shape[0] == 1:
            return self

        def bind() -> tuple[BoundNet, ...]:
            return tuple(net.rows(index) for net in self.constants)

        return FoldedConditionedFlow(self.flow, self.context[index], self.weights, bind)

    @torch.no_grad()
    def run(self, code: Tensor, traces: list[Trace] | None) -> tuple[Tensor, Tensor]:
        """The forward pass; appends what `pull` needs to `traces`."""
        log_det = self.weights.log_det.expand(code.shape[0])
        for step, constants in zip(self.weights.steps, self.constants, strict=True):
            code, added = _run(step, constants, code, traces)
            if added is not None:
                log_det = log_det + added
        return code[:, self.weights.unsort], log_det

    def pull(self, traces: list[Trace], gradient: Tensor, log_det_gradient: Tensor | None) -> Tensor:
        """The gradient with respect to the code from those with respect to the results."""
        gradient = gradient[:, self.weights.order]
        steps = zip(self.weights.steps, self.constants, traces, strict=True)
        for step, constants, trace in reversed(list(steps)):
            gradient = _pull(step, constants, trace, gradient, log_det_gradient)
        return gradient


def _run(
    step: FoldedStep, constants: BoundNet, code: Tensor, traces: list[Trace] | None
) -> tuple[Tensor, Tensor | None]:
    code = step.affine.forward(code).add_(step.bias)
    net: list[Tensor] | None = None if traces is None else []
    parameters = step.net.run(code[:, : step.kept], constants, net)
    moved = code[:, step.kept :]
    bend, log_det = None, None
    if isinstance(step.coupling, AdditiveCoupling):
        moved += parameters
    elif traces is None:
        code[:, step.kept :], log_det = step.coupling.bend(moved, parameters)
    else:
        with torch.enable_grad():
            leaves = moved.clone().requires_grad_(), parameters.requires_grad_()
            bend = Bend(*leaves, *step.coupling.bend(*leaves))
        code[:, step.kept :], log_det = bend.result.detach(), bend.log_det.detach()
    if traces is not None:
        traces.append(Trace(net, bend))
    return code, log_det


def _pull(
    step: FoldedStep, constants: BoundNet, trace: Trace, gradient: Tensor, log_det_gradient: Tensor | None
) -> Tensor:
    kept, moved = gradient[:, : step.kept], gradient[:, step.kept :]
    parameters = moved
    if trace.bend is not None:
        bend = trace.bend
        results, gradients = [bend.result], [moved]
        if log_det_gradient is not None and bend.log_det.requires_grad:
            results.append(bend.log_det)
            gradients.append(log_det_gradient)
        moved, parameters = torch.autograd.grad(results, [bend.moved, bend.parameters], gradients, retain_graph=True)
    kept = kept + step.net.pull(parameters, constants, trace.net)
    return step.affine.back(torch.cat([kept, moved], dim=1))


class _FoldedMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx, code: Tensor, flow: FoldedConditionedFlow) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.flow = flow
        ctx.traces = []
        result, log_det = flow.run(code, ctx.traces)
        if flow.flow.planned.volume_preserving:
            ctx.mark_non_differentiable(log_det)
        return result, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor | None, log_det_gradient: Tensor | None) -> tuple[Tensor | None, None]:
        if gradient is None:
            if log_det_gradient is None:
                return None, None
            gradient = log_det_gradient.new_zeros(len(log_det_gradient), ctx.flow.flow.given.features)
        return ctx.flow.pull(ctx.traces, gradient, log_det_gradient), None
