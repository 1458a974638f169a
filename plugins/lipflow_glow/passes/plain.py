"""Passes by torch's operations: on any device, in any type."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lipflow_glow.couplings import AdditiveCoupling
from lipflow_glow.folding import BoundBlock, BoundNet, FoldedStep, FoldedWeights, StepMatrices
from lipflow_glow.passes.contract import Bend, Passes


class Trace(NamedTuple):
    """What one step's forward pass leaves for its gradient; `bend` is None for an additive coupling."""

    net: list[Tensor]
    bend: Bend | None


class PlainPasses(Passes):
    """A folded flow's passes, layer by layer.

    Args:
        weights: The folded flow.
        narrow: Keep the conditioners' matrices in bfloat16.
    """

    def __init__(self, weights: FoldedWeights, narrow: bool = False):
        super().__init__(weights)
        self.matrices = [_copied(step.matrices(), narrow) for step in weights.steps]

    def bind(self, context: Tensor | None) -> tuple[BoundNet, ...]:
        return self.weights.bind(context)

    def select(self, constants: tuple[BoundNet, ...], index: Tensor) -> tuple[BoundNet, ...]:
        return tuple(net.rows(index) for net in constants)

    def forward(
        self, code: Tensor, constants: tuple[BoundNet, ...], keep: bool
    ) -> tuple[Tensor, Tensor, list[Trace] | None]:
        traces: list[Trace] | None = [] if keep else None
        log_det = self.weights.log_det.expand(code.shape[0])
        for step, matrices, net in zip(self.weights.steps, self.matrices, constants, strict=True):
            code, added = _run(step, matrices, net, code, traces)
            if added is not None:
                log_det = log_det + added
        return code[:, self.weights.unsort], log_det, traces

    def backward(
        self, kept: list[Trace], constants: tuple[BoundNet, ...], gradient: Tensor, log_det_gradient: Tensor | None
    ) -> Tensor:
        gradient = gradient[:, self.weights.order]
        steps = zip(self.weights.steps, self.matrices, constants, kept, strict=True)
        for step, matrices, net, trace in reversed(list(steps)):
            gradient = _pull(step, matrices, net, trace, gradient, log_det_gradient)
        return gradient


def _copied(matrices: StepMatrices, narrow: bool) -> StepMatrices:
    def copy(matrix: Tensor) -> Tensor:
        return matrix.to(torch.bfloat16) if narrow else matrix.clone(memory_format=torch.contiguous_format)

    blocks = tuple((copy(first), copy(second)) for first, second in matrices.blocks)
    return StepMatrices(matrices.affine.clone(), copy(matrices.initial), blocks, copy(matrices.final))


def _run(
    step: FoldedStep, matrices: StepMatrices, constants: BoundNet, code: Tensor, traces: list[Trace] | None
) -> tuple[Tensor, Tensor | None]:
    code = F.linear(code, matrices.affine).add_(step.bias)
    net: list[Tensor] | None = None if traces is None else []
    parameters = _run_net(matrices, code[:, : step.kept], constants, net)
    moved = code[:, step.kept :]
    bend, log_det = None, None
    if isinstance(step.coupling, AdditiveCoupling):
        moved += parameters
    elif traces is None:
        code[:, step.kept :], log_det = step.coupling.bend(moved, parameters)
    else:
        bend = Bend.of(step.coupling, moved, parameters)
        code[:, step.kept :], log_det = bend.result.detach(), bend.log_det.detach()
    if traces is not None:
        traces.append(Trace(net, bend))
    return code, log_det


def _pull(
    step: FoldedStep,
    matrices: StepMatrices,
    constants: BoundNet,
    trace: Trace,
    gradient: Tensor,
    log_det_gradient: Tensor | None,
) -> Tensor:
    kept, moved = gradient[:, : step.kept], gradient[:, step.kept :]
    parameters = moved
    if trace.bend is not None:
        moved, parameters = trace.bend.pull(moved, log_det_gradient)
    kept = kept + _pull_net(matrices, parameters, constants, trace.net)
    return torch.cat([kept, moved], dim=1) @ matrices.affine


def _run_net(matrices: StepMatrices, kept: Tensor, bound: BoundNet, trace: list[Tensor] | None) -> Tensor:
    """(B, kept features) → (B, parameters); appends what `_pull_net` needs to `trace`."""
    stream = _times(kept, matrices.initial)
    for (first, second), constants in zip(matrices.blocks, bound.blocks, strict=True):
        stream = _run_block(first, second, stream, constants, trace)
    return _times(stream, matrices.final) + bound.offset


def _pull_net(matrices: StepMatrices, gradient: Tensor, bound: BoundNet, trace: list[Tensor]) -> Tensor:
    stream = _times(gradient, matrices.final.t())
    trace = list(trace)
    for (first, second), constants in zip(reversed(matrices.blocks), reversed(bound.blocks), strict=True):
        stream = _pull_block(first, second, stream, constants, trace)
    return _times(stream, matrices.initial.t())


def _run_block(
    first: Tensor, second: Tensor, stream: Tensor, bound: BoundBlock, trace: list[Tensor] | None
) -> Tensor:
    before = bound.first(stream)
    between = bound.second(_times(before, first))
    if trace is not None:
        trace += [before, between]
    added = _times(between, second)
    return stream + added if bound.gate is None else torch.addcmul(stream, bound.gate, added)


def _pull_block(first: Tensor, second: Tensor, gradient: Tensor, bound: BoundBlock, trace: list[Tensor]) -> Tensor:
    """Vector-Jacobian product; takes what `_run_block` left off the end of `trace`."""
    through = gradient if bound.gate is None else gradient * bound.gate
    through = bound.second.pull(_times(through, second.t()), trace.pop())
    return bound.first.pull(_times(through, first.t()), trace.pop()).add_(gradient)


def _times(inputs: Tensor, matrix: Tensor) -> Tensor:
    """x Wᵀ: (B, in), (out, in) → (B, out), in the inputs' type."""
    return F.linear(inputs.to(matrix.dtype), matrix).to(inputs.dtype)
