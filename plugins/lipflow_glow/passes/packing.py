"""A folded flow's matrices and constants, laid out flat for the compiled passes (see `layout`)."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from lipflow_glow.couplings import AdditiveCoupling
from lipflow_glow.folding import BoundNet, FoldedStep, FoldedWeights, StepMatrices
from lipflow_glow.passes.layout import BLOCK, PARTS, Sizes, layout, padded


def sizes_of(weights: FoldedWeights) -> Sizes:
    """The padded widths of a flow."""
    step = weights.steps[0]
    half = padded(max(step.kept, step.moved))
    additive = isinstance(step.coupling, AdditiveCoupling)
    parameters = half if additive else padded(max(s.net.final_layer.out_features for s in weights.steps))
    hidden = padded(step.net.initial_bias.numel())
    return Sizes(half, hidden, parameters, len(step.net.blocks), len(weights.steps))


def memory(count: int, dtype: torch.dtype) -> Tensor:
    """Zeros in huge pages where the system has them: small ones cost up to half of the speed of reading."""
    size = max(count * dtype.itemsize, 1)
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(count, dtype=dtype)
    kept = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without such pages
        kept.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(kept, dtype=dtype, count=count)


class Packed(NamedTuple):
    """All steps' matrices one after another: affine maps, and conditioners' initial, blocks' and final ones."""

    affines: Tensor
    nets: Tensor


def pack(weights: FoldedWeights, sizes: Sizes, narrow: bool) -> Packed:
    """All steps' matrices by rows, (K, N); conditioners' in bfloat16 if `narrow`."""
    dtype = weights.log_det.dtype
    count = sum(inputs * outputs for inputs, outputs in _shapes(sizes))
    packed = Packed(
        memory(sizes.steps * 4 * sizes.half**2, dtype),
        memory(sizes.steps * count, torch.bfloat16 if narrow else dtype),
    )
    before = torch.arange(weights.steps[0].kept + weights.steps[0].moved)
    affines, nets = iter(_affines(packed, sizes)), iter(_conditioners(packed, sizes))
    for step in weights.steps:
        matrices, after = step.matrices(), positions(step, sizes)
        next(affines)[before[:, None], after[None]] = matrices.affine.t()
        for matrix in _net(matrices):
            next(nets)[: matrix.shape[1], : matrix.shape[0]] = matrix.t()
        before = after
    return packed


def unpacked(packed: Packed, weights: FoldedWeights, sizes: Sizes) -> list[StepMatrices]:
    """Each step's matrices as they were when they were packed."""
    before = torch.arange(weights.steps[0].kept + weights.steps[0].moved)
    affines, nets = iter(_affines(packed, sizes)), iter(_conditioners(packed, sizes))
    found = []
    for step in weights.steps:
        after, hidden = positions(step, sizes), step.net.initial_bias.numel()
        affine = next(affines)[before[:, None], after[None]].t()
        initial = next(nets)[: step.kept, :hidden].t()
        blocks = tuple((next(nets)[:hidden, :hidden].t(), next(nets)[:hidden, :hidden].t()) for _ in step.net.blocks)
        final = next(nets)[:hidden, : step.net.final_layer.out_features].t()
        found.append(StepMatrices(affine, initial, blocks, final))
        before = after
    return found


def blocked(packed: Packed, sizes: Sizes, transposed: bool) -> Packed:
    """By blocks, (N / BLOCK, K, BLOCK), what is by rows, for the same products or for the transposed ones."""

    def arranged(matrix: Tensor) -> Tensor:
        return rearrange(matrix, "k (n c) -> n k c", c=BLOCK)

    return _rearranged(packed, sizes, transposed, arranged)


def tiled(packed: Packed, sizes: Sizes, transposed: bool) -> Packed:
    """As tiles for the matrix unit (see `amx`), int16, what is by rows."""

    def arranged(matrix: Tensor) -> Tensor:
        pattern = "part (s p pair) (n c j) -> n s c part p j pair"
        return rearrange(_parts(matrix), pattern, p=16, pair=2, c=2, j=16)

    return _rearranged(packed, sizes, transposed, arranged)


def _rearranged(packed: Packed, sizes: Sizes, transposed: bool, arranged: Callable[[Tensor], Tensor]) -> Packed:
    made = []
    for matrices in (_affines(packed, sizes), _conditioners(packed, sizes)):
        flat, at = None, 0
        for matrix in matrices:
            part = arranged(matrix.t() if transposed else matrix)
            if flat is None:
                total = sum(other.numel() for other in matrices)
                flat = memory(total * (part.numel() // matrix.numel()), part.dtype)
            flat[at : at + part.numel()].view(part.shape).copy_(part)
            at += part.numel()
        made.append(flat)
    return Packed(*made)


def _parts(matrix: Tensor) -> Tensor:
    """A float32 or bfloat16 matrix as one or `PARTS` matrices of bfloat16 bits that add up to it: int16."""
    if matrix.dtype == torch.bfloat16:
        return matrix.contiguous().view(torch.int16)[None]
    rest, parts = matrix.contiguous(), []
    for _ in range(PARTS):
        # The upper half of a float32 number is a bfloat16 number, and what is left of it is exact.
        upper = rest.view(torch.int32) & -0x10000
        parts.append((upper >> 16).to(torch.int16))
        rest = rest - upper.view(torch.float32)
    return torch.stack(parts)


def _shapes(sizes: Sizes) -> list[tuple[int, int]]:
    """(K, N) of a conditioner's matrices."""
    hidden = sizes.hidden
    return [(sizes.half, hidden), *[(hidden, hidden)] * (2 * sizes.blocks), (hidden, sizes.parameters)]


def _affines(packed: Packed, sizes: Sizes) -> list[Tensor]:
    return list(packed.affines.view(sizes.steps, 2 * sizes.half, 2 * sizes.half))


def _conditioners(packed: Packed, sizes: Sizes) -> list[Tensor]:
    """Views (K, N) of all steps' conditioners' matrices."""
    shapes = _shapes(sizes) * sizes.steps
    parts = packed.nets.split([inputs * outputs for inputs, outputs in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


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
