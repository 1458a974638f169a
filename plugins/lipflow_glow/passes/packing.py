"""A folded flow's matrices and constants, laid out flat for the compiled passes (see `layout`)."""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_glow.couplings import AdditiveCoupling
from lipflow_glow.folding import BoundNet, FoldedStep, FoldedWeights, StepMatrices
from lipflow_glow.passes.layout import BLOCK, Sizes, layout, padded


def sizes_of(weights: FoldedWeights) -> Sizes:
    """The padded widths of a flow."""
    step = weights.steps[0]
    half = padded(max(step.kept, step.moved))
    additive = isinstance(step.coupling, AdditiveCoupling)
    parameters = half if additive else padded(max(s.net.final_layer.out_features for s in weights.steps))
    hidden = padded(step.net.initial_bias.numel())
    return Sizes(half, hidden, parameters, len(step.net.blocks), len(weights.steps))


def pack(matrix: Tensor, packed: Tensor) -> None:
    """Write a matrix (K, N) as (N / BLOCK, K, BLOCK), as far as it goes; what lies beyond stays."""
    inputs, outputs = matrix.shape
    for column in range(0, outputs, BLOCK):
        part = matrix[:, column : column + BLOCK]
        packed[column // BLOCK, :inputs, : part.shape[1]] = part


class Packed:
    """All steps' matrices, affine maps and conditioners apart, for the products of one direction.

    Args:
        sizes: Widths.
        narrow: Whether the conditioners' are bfloat16.
        dtype: Of the flow.
    """

    def __init__(self, sizes: Sizes, narrow: bool, dtype: torch.dtype):
        self.sizes = sizes
        self.at = layout(sizes, 1, 1, False, narrow)
        self.affines = torch.zeros(sizes.steps * 4 * sizes.half**2, dtype=dtype)
        self.nets = torch.zeros(sizes.steps * self.at.net, dtype=torch.bfloat16 if narrow else dtype)

    def matrices(self, step: int) -> tuple[Tensor, ...]:
        """Views (N / BLOCK, K, BLOCK) of a step's, as those of the direction from the code on: affine, conditioner."""
        half, hidden, parameters, blocks, _ = self.sizes
        shapes = [(half, hidden), *[(hidden, hidden)] * (2 * blocks), (hidden, parameters)]
        views = [self._view(self.affines, step * 4 * half**2, 2 * half, 2 * half)]
        at = step * self.at.net
        for inputs, outputs in shapes:
            views.append(self._view(self.nets, at, inputs, outputs))
            at += inputs * outputs
        return tuple(views)

    def _view(self, flat: Tensor, at: int, inputs: int, outputs: int) -> Tensor:
        return flat[at : at + inputs * outputs].view(outputs // BLOCK, inputs, BLOCK)

    def transposed(self) -> Packed:
        """The same for the transposed products."""
        narrow = self.nets.dtype == torch.bfloat16
        other = Packed(self.sizes, narrow, self.affines.dtype)
        for step in range(self.sizes.steps):
            for mine, others in zip(self.matrices(step), other.matrices(step), strict=True):
                blocks, inputs, _ = mine.shape
                turned = mine.permute(0, 2, 1).reshape(blocks * BLOCK, inputs)
                pack(turned, others.view(inputs // BLOCK, blocks * BLOCK, BLOCK))
        return other


def pack_forward(weights: FoldedWeights, sizes: Sizes, narrow: bool) -> Packed:
    """All steps' matrices for the forward pass."""
    packed = Packed(sizes, narrow, weights.log_det.dtype)
    before = None
    for index, step in enumerate(weights.steps):
        affine, *net = packed.matrices(index)
        matrices = step.matrices()
        after = positions(step, sizes)
        widened = affine.new_zeros(2 * sizes.half, 2 * sizes.half)
        columns = torch.arange(step.kept + step.moved) if before is None else before
        widened[columns[:, None], after[None]] = matrices.affine.t()
        pack(widened, affine)
        for matrix, view in zip(_net(matrices), net, strict=True):
            pack(matrix.t(), view)
        before = after
    return packed


def _net(matrices: StepMatrices) -> list[Tensor]:
    return [matrices.initial, *[matrix for block in matrices.blocks for matrix in block], matrices.final]


def positions(step: FoldedStep, sizes: Sizes) -> Tensor:
    """Where a step leaves its features, the kept ones first: (D,) int64."""
    return torch.cat([torch.arange(step.kept), sizes.half + torch.arange(step.moved)])


def fixed_constants(weights: FoldedWeights, sizes: Sizes) -> Tensor:
    """What does not depend on contexts: per step bias, signs and second shifts; flat."""
    at = layout(sizes, 1, 1, False, False)
    fixed = weights.log_det.new_zeros(sizes.steps, at.fixed)
    for row, step in zip(fixed, weights.steps, strict=True):
        row[positions(step, sizes)] = step.bias
        for index, block in enumerate(step.net.blocks):
            sign, shift = at.sign + index * sizes.hidden, at.shift + index * sizes.hidden
            width = block.first_shift.numel()
            row[sign : sign + width] = 1 if block.sign is None else block.sign
            row[shift : shift + width] = block.second_shift[0]
    return fixed.flatten()


def bound_constants(nets: tuple[BoundNet, ...], sizes: Sizes) -> Tensor:
    """What depends on contexts, (B or 1, steps · bound): per step first shifts, gates and the output's offset."""
    at = layout(sizes, 1, 1, False, False)
    offset = nets[0].offset
    constants = offset.new_zeros(offset.shape[0], sizes.steps, at.bound)
    for step, net in enumerate(nets):
        here = constants[:, step]
        for index, block in enumerate(net.blocks):
            width = block.first.shift.shape[1]
            shift = index * sizes.hidden
            here[:, shift : shift + width] = block.first.shift
            here[:, at.gate + shift : at.gate + shift + width] = 1 if block.gate is None else block.gate
        here[:, at.offset : at.offset + net.offset.shape[1]] = net.offset
    return constants.flatten(1)
