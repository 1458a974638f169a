"""A folded flow's matrices and constants, laid out flat for the compiled passes (see `layout`)."""

from __future__ import annotations

import contextlib
import mmap

import torch
from einops import rearrange
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


def memory(count: int, dtype: torch.dtype) -> Tensor:
    """Zeros in huge pages where the system has them: looking up pages costs up to half of the speed of reading."""
    size = max(count * dtype.itemsize, 1)
    kept = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Refused where the system has no such pages.
        with contextlib.suppress(OSError):
            kept.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(kept, dtype=dtype, count=count)


class Packed:
    """All steps' matrices, affine maps and conditioners apart, for the products of one direction.

    Args:
        sizes: Widths.
        narrow: Whether the conditioners' are bfloat16.
        dtype: Of the flow.
        by_blocks: Whether each is (N / BLOCK, K, BLOCK) instead of (K, N).
    """

    def __init__(self, sizes: Sizes, narrow: bool, dtype: torch.dtype, by_blocks: bool):
        self.sizes = sizes
        self.by_blocks = by_blocks
        self.at = layout(sizes, 1, 1, False, narrow)
        self.affines = memory(sizes.steps * 4 * sizes.half**2, dtype)
        self.nets = memory(sizes.steps * self.at.net, torch.bfloat16 if narrow else dtype)

    def matrices(self, step: int) -> tuple[Tensor, ...]:
        """Views (K, N), or (N / BLOCK, K, BLOCK), of a step's: affine map, initial, each block's two, final."""
        half, hidden, parameters, blocks, _ = self.sizes
        shapes = [(half, hidden), *[(hidden, hidden)] * (2 * blocks), (hidden, parameters)]
        views = [self._view(self.affines, step * 4 * half**2, 2 * half, 2 * half)]
        at = step * self.at.net
        for inputs, outputs in shapes:
            views.append(self._view(self.nets, at, inputs, outputs))
            at += inputs * outputs
        return tuple(views)

    def _view(self, flat: Tensor, at: int, inputs: int, outputs: int) -> Tensor:
        matrix = flat[at : at + inputs * outputs]
        return matrix.view(outputs // BLOCK, inputs, BLOCK) if self.by_blocks else matrix.view(inputs, outputs)

    def blocked(self, transposed: bool) -> Packed:
        """The same by blocks, or by blocks for the transposed products; this one is by rows."""
        other = Packed(self.sizes, self.nets.dtype == torch.bfloat16, self.affines.dtype, True)
        for step in range(self.sizes.steps):
            for mine, others in zip(self.matrices(step), other.matrices(step), strict=True):
                wanted = mine.t() if transposed else mine
                others.view(wanted.shape[1] // BLOCK, wanted.shape[0], BLOCK).copy_(
                    rearrange(wanted, "k (n c) -> n k c", c=BLOCK)
                )
        return other


def pack(weights: FoldedWeights, sizes: Sizes, narrow: bool) -> Packed:
    """All steps' matrices by rows."""
    packed = Packed(sizes, narrow, weights.log_det.dtype, False)
    before = torch.arange(weights.steps[0].kept + weights.steps[0].moved)
    for index, step in enumerate(weights.steps):
        affine, *net = packed.matrices(index)
        matrices, after = step.matrices(), positions(step, sizes)
        affine[before[:, None], after[None]] = matrices.affine.t()
        for matrix, view in zip(_net(matrices), net, strict=True):
            view[: matrix.shape[1], : matrix.shape[0]] = matrix.t()
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
