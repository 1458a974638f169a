"""The walk through a folded flow, forward and backward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lipflow_glow.config import GlowConfig
from lipflow_glow.couplings import AdditiveCoupling, HalfCoupling
from lipflow_glow.folding import BoundNet, FoldedStep, FoldedWeights, StepMatrices
from lipflow_glow.passes.products import Choice, Matrix, MatrixBehindRelu


class Bend(NamedTuple):
    """A coupling's elementwise part as a small autograd graph of rows: two leaves and two results."""

    moved: Tensor
    parameters: Tensor
    result: Tensor
    log_det: Tensor

    @staticmethod
    def of(coupling: HalfCoupling, moved: Tensor, parameters: Tensor) -> Bend:
        """Bend copies of one half and its parameters, columns (T, B) and (T · parameters_per_feature, B)."""
        with torch.enable_grad():
            leaves = [_rows(columns).requires_grad_() for columns in (moved, parameters)]
            return Bend(*leaves, *coupling.bend(*leaves))

    def pull(self, gradient: Tensor, log_det_gradient: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute the gradients with respect to both leaves, as columns; `gradient` is (T, B)."""
        results, gradients = [self.result], [gradient.t()]
        if log_det_gradient is not None and self.log_det.requires_grad:
            results.append(self.log_det)
            gradients.append(log_det_gradient)
        moved, parameters = torch.autograd.grad(results, [self.moved, self.parameters], gradients, retain_graph=True)
        return moved.t(), parameters.t()


class Trace(NamedTuple):
    """Holds what one step's forward pass saves for its gradient.

    `activations` holds the outputs of each block's two ReLUs, in order; `bend` is None for an additive coupling.
    """

    activations: list[Tensor]
    bend: Bend | None


class Products(NamedTuple):
    """The matrices of one step, as `StepMatrices`, ready to multiply by."""

    affine: Matrix
    initial: Matrix
    blocks: tuple[tuple[MatrixBehindRelu, MatrixBehindRelu], ...]
    final: Matrix

    @classmethod
    def of(cls, matrices: StepMatrices, choice: Choice) -> Products:
        """Copy a step's matrices; the affine map is never narrowed."""
        blocks = tuple(tuple(MatrixBehindRelu(matrix, choice) for matrix in block) for block in matrices.blocks)
        affine = Matrix(matrices.affine, choice._replace(narrow=False))
        return cls(affine, Matrix(matrices.initial, choice), blocks, Matrix(matrices.final, choice))


class Passes:
    """Passes through a folded flow: its map and the gradient with respect to the code.

    Args:
        weights: The folded flow. Its matrices are copied, so later changes of parameters do not reach them.
        config: The options that choose how products are computed.

    Attributes:
        dtype: Type that codes and contexts must have.

    Raises:
        ValueError: If `config.passes` is "compiled" and the flow is not a float32 or float64 flow on the CPU.
    """

    def __init__(self, weights: FoldedWeights, config: GlowConfig):
        self.weights = weights
        self.dtype = weights.log_det.dtype
        choice = Choice.of(config, weights.log_det)
        self.products = [Products.of(step.matrices(), choice) for step in weights.steps]

    def bind(self, context: Tensor | None) -> tuple[BoundNet, ...]:
        """Compute the constants at contexts (B, h); (1, h) or None serves codes of any number."""
        return self.weights.bind(context)

    def forward(
        self, code: Tensor, constants: tuple[BoundNet, ...], keep: bool
    ) -> tuple[Tensor, Tensor, list[Trace] | None]:
        """Map codes (B, D); return them with log|det| (B,) and, if `keep`, what `backward` needs."""
        traces: list[Trace] | None = [] if keep else None
        log_det = self.weights.log_det.expand(code.shape[0])
        columns = code.t()
        for step, products, net in zip(self.weights.steps, self.products, constants, strict=True):
            columns, added = _run(step, products, net, columns, traces)
            if added is not None:
                log_det = log_det + added
        return columns.t().index_select(1, self.weights.unsort), log_det, traces

    def backward(
        self, traces: list[Trace], constants: tuple[BoundNet, ...], gradient: Tensor, log_det_gradient: Tensor | None
    ) -> Tensor:
        """Turn gradients with respect to the results into the gradient (B, D) of the code; may be called again."""
        columns = gradient.t().index_select(0, self.weights.order)
        steps = zip(self.weights.steps, self.products, constants, traces, strict=True)
        for step, products, net, trace in reversed(list(steps)):
            columns = _pull(step, products, net, trace, columns, log_det_gradient)
        return columns.t().contiguous()


def _run(
    step: FoldedStep, products: Products, net: BoundNet, code: Tensor, traces: list[Trace] | None
) -> tuple[Tensor, Tensor | None]:
    code = products.affine.forward(code).add_(step.bias)
    kept, moved = code[: step.kept], code[step.kept :]
    activations: list[Tensor] = []
    parameters = _run_net(products, kept, net, activations)
    bend, log_det = None, None
    if isinstance(step.coupling, AdditiveCoupling):
        moved += parameters
    elif traces is None:
        result, log_det = step.coupling.bend(_rows(moved), _rows(parameters))
        moved.copy_(result.t())
    else:
        bend = Bend.of(step.coupling, moved, parameters)
        moved.copy_(bend.result.detach().t())
        log_det = bend.log_det.detach()
    if traces is not None:
        traces.append(Trace(activations, bend))
    return code, log_det


def _pull(
    step: FoldedStep, products: Products, net: BoundNet, trace: Trace, gradient: Tensor, log_det_gradient: Tensor | None
) -> Tensor:
    kept, moved = gradient[: step.kept], gradient[step.kept :]
    parameters = moved
    if trace.bend is not None:
        moved, parameters = trace.bend.pull(moved, log_det_gradient)
    kept = kept + _pull_net(products, parameters, net, trace.activations)
    return products.affine.back(torch.cat([kept, moved]))


def _run_net(products: Products, kept: Tensor, net: BoundNet, activations: list[Tensor]) -> Tensor:
    """Run the conditioner: (kept features, B) → (parameters, B). Appends to `activations`."""
    stream = products.initial.forward(kept)
    for (first, second), block in zip(products.blocks, net.blocks, strict=True):
        before = block.first(stream)
        between = block.second(first.forward(before))
        activations += [before, between]
        added = second.forward(between)
        stream = stream.add_(added) if block.gate is None else stream.addcmul_(block.gate, added)
    return products.final.forward(stream).add_(net.offset)


def _pull_net(products: Products, gradient: Tensor, net: BoundNet, activations: list[Tensor]) -> Tensor:
    stream = products.final.back(gradient)
    blocks = zip(products.blocks, net.blocks, activations[0::2], activations[1::2], strict=True)
    for (first, second), block, before, between in reversed(list(blocks)):
        through = stream if block.gate is None else stream * block.gate
        through = block.second.pull(second.back(through, between), between)
        stream += block.first.pull(first.back(through, before), before)
    return products.initial.back(stream)


def _rows(columns: Tensor) -> Tensor:
    """Copy columns (T, B) into rows (B, T)."""
    return columns.t().clone(memory_format=torch.contiguous_format)
