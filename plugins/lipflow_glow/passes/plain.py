"""Passes by torch's operations: on any device, in any type."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lipflow_glow.couplings import AdditiveCoupling
from lipflow_glow.folding import BoundBlock, BoundNet, FoldedStep, FoldedWeights, StepMatrices
from lipflow_glow.passes.contract import Bend, Passes
from lipflow_glow.passes.products import TwoWay


class Trace(NamedTuple):
    """What one step's forward pass leaves for its gradient; `bend` is None for an additive coupling."""

    net: list[Tensor]
    bend: Bend | None


class PlainPasses(Passes):
    """A folded flow's passes, layer by layer.

    Args:
        weights: The folded flow.
        narrow: Keep the conditioners' matrices in bfloat16.
        matrices: Each step's, if not as the flow has them now.
    """

    def __init__(self, weights: FoldedWeights, narrow: bool = False, matrices: list[StepMatrices] | None = None):
        super().__init__(weights)
        matrices = [step.matrices() for step in weights.steps] if matrices is None else matrices
        self.products = [Products.of(each, narrow) for each in matrices]

    def bind(self, context: Tensor | None) -> tuple[BoundNet, ...]:
        return self.weights.bind(context)

    def select(self, constants: tuple[BoundNet, ...], index: Tensor) -> tuple[BoundNet, ...]:
        return tuple(net.rows(index) for net in constants)

    def forward(
        self, code: Tensor, constants: tuple[BoundNet, ...], keep: bool
    ) -> tuple[Tensor, Tensor, list[Trace] | None]:
        traces: list[Trace] | None = [] if keep else None
        log_det = self.weights.log_det.expand(code.shape[0])
        for step, products, net in zip(self.weights.steps, self.products, constants, strict=True):
            code, added = _run(step, products, net, code, traces)
            if added is not None:
                log_det = log_det + added
        return code[:, self.weights.unsort], log_det, traces

    def backward(
        self, kept: list[Trace], constants: tuple[BoundNet, ...], gradient: Tensor, log_det_gradient: Tensor | None
    ) -> Tensor:
        gradient = gradient[:, self.weights.order]
        steps = zip(self.weights.steps, self.products, constants, kept, strict=True)
        for step, products, net, trace in reversed(list(steps)):
            gradient = _pull(step, products, net, trace, gradient, log_det_gradient)
        return gradient


class Products(NamedTuple):
    """A step's `StepMatrices`, as products."""

    affine: TwoWay
    initial: TwoWay
    blocks: tuple[tuple[TwoWay, TwoWay], ...]
    final: TwoWay

    @classmethod
    def of(cls, matrices: StepMatrices, narrow: bool) -> Products:
        blocks = tuple((TwoWay(first, narrow), TwoWay(second, narrow)) for first, second in matrices.blocks)
        return cls(TwoWay(matrices.affine), TwoWay(matrices.initial, narrow), blocks, TwoWay(matrices.final, narrow))


def _run(
    step: FoldedStep, products: Products, constants: BoundNet, code: Tensor, traces: list[Trace] | None
) -> tuple[Tensor, Tensor | None]:
    code = products.affine.forward(code).add_(step.bias)
    net: list[Tensor] | None = None if traces is None else []
    parameters = _run_net(products, code[:, : step.kept], constants, net)
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
    products: Products,
    constants: BoundNet,
    trace: Trace,
    gradient: Tensor,
    log_det_gradient: Tensor | None,
) -> Tensor:
    kept, moved = gradient[:, : step.kept], gradient[:, step.kept :]
    parameters = moved
    if trace.bend is not None:
        moved, parameters = trace.bend.pull(moved, log_det_gradient)
    kept = kept + _pull_net(products, parameters, constants, trace.net)
    return products.affine.back(torch.cat([kept, moved], dim=1))


def _run_net(products: Products, kept: Tensor, bound: BoundNet, trace: list[Tensor] | None) -> Tensor:
    """(B, kept features) → (B, parameters); appends what `_pull_net` needs to `trace`."""
    stream = products.initial.forward(kept)
    for (first, second), constants in zip(products.blocks, bound.blocks, strict=True):
        stream = _run_block(first, second, stream, constants, trace)
    return products.final.forward(stream) + bound.offset


def _pull_net(products: Products, gradient: Tensor, bound: BoundNet, trace: list[Tensor]) -> Tensor:
    stream = products.final.back(gradient)
    trace = list(trace)
    for (first, second), constants in zip(reversed(products.blocks), reversed(bound.blocks), strict=True):
        stream = _pull_block(first, second, stream, constants, trace)
    return products.initial.back(stream)


def _run_block(first: TwoWay, second: TwoWay, stream: Tensor, bound: BoundBlock, trace: list[Tensor] | None) -> Tensor:
    before = bound.first(stream)
    between = bound.second(first.forward(before))
    if trace is not None:
        trace += [before, between]
    added = second.forward(between)
    return stream + added if bound.gate is None else torch.addcmul(stream, bound.gate, added)


def _pull_block(first: TwoWay, second: TwoWay, gradient: Tensor, bound: BoundBlock, trace: list[Tensor]) -> Tensor:
    """Vector-Jacobian product; takes what `_run_block` left off the end of `trace`."""
    through = gradient if bound.gate is None else gradient * bound.gate
    through = bound.second.pull(second.back(through), trace.pop())
    return bound.first.pull(first.back(through), trace.pop()).add_(gradient)
