"""Passes compiled by numba, for CPUs: all of a flow in one call, without an operation of torch in between.

Bound by reading weights where rows are few and by multiplying where they are many, so there are three ways (see
`layer`): one or two rows read what their ReLUs let through and nothing else; some go through each block of weights
together while it is in the nearest caches; many go by the CPU's matrix unit, or where it has none, which BLAS libraries
serve well, by torch's operations.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from lipflow_kit.compiled.workers import run
from torch import Tensor

from lipflow_glow.couplings import AdditiveCoupling
from lipflow_glow.folding import BoundNet, FoldedWeights
from lipflow_glow.passes import walk
from lipflow_glow.passes.amx import usable
from lipflow_glow.passes.contract import Bend, Passes
from lipflow_glow.passes.layout import BLOCK, Layout, Sizes, layout
from lipflow_glow.passes.packing import (
    Packed,
    blocked,
    bound_constants,
    fixed_constants,
    pack,
    positions,
    sizes_of,
    tiled,
    unpacked,
)
from lipflow_glow.passes.plain import PlainPasses
from lipflow_glow.passes.records import FEW, MANY, SOME

FEW_ROWS = 2
"""Up to so many rows go by what is not zero."""
MANY_ROWS = {torch.float32: 24, torch.bfloat16: 4}
"""From so many rows on the matrix unit is faster, by the type of the weights."""
PLAIN_ROWS = 48
"""From so many rows on torch's operations are faster than vectors."""
WORTH_A_THREAD = 3_000_000
"""Multiplications below which a further thread costs more than it saves."""


class Kept(NamedTuple):
    """What a forward pass leaves: which units of each ReLU are positive, and the couplings' graphs."""

    bits: np.ndarray
    bends: list[Bend]


class Bound:
    """What depends on contexts, as both kinds of passes want it."""

    def __init__(self, nets: tuple[BoundNet, ...], sizes: Sizes):
        self.nets = nets
        self._sizes = sizes

    @cached_property
    def flat(self) -> Tensor:
        """(B or 1, all constants)."""
        return bound_constants(self.nets, self._sizes)

    def rows(self, index: Tensor) -> Bound:
        chosen = Bound(tuple(net.rows(index) for net in self.nets), self._sizes)
        if "flat" in self.__dict__:
            chosen.flat = self.flat[index]
        return chosen


class CompiledPasses(Passes):
    """A folded flow's passes, for float32 and float64.

    Args:
        weights: The folded flow, on the CPU.
        narrow: Keep the conditioners' matrices in bfloat16, which halves what is read.
    """

    def __init__(self, weights: FoldedWeights, narrow: bool = False):
        super().__init__(weights)
        self.sizes = sizes_of(weights)
        self.narrow = narrow
        self.additive = isinstance(weights.steps[0].coupling, AdditiveCoupling)
        self.rows = pack(weights, self.sizes, narrow)
        self._packed: dict[tuple[int, bool], Packed] = {}
        self.fixed = fixed_constants(weights, self.sizes).numpy()
        self.results = positions(weights.steps[-1], self.sizes)[weights.unsort]
        self.gradients = positions(weights.steps[-1], self.sizes)
        longest = max(2 * self.sizes.half, self.sizes.hidden, self.sizes.parameters) + BLOCK
        self.listed = np.arange(longest, dtype=np.int32)

    def matrices(self, way: int, backward: bool) -> Packed:
        """The matrices as a way wants them; kept."""
        if way == FEW:
            return self.rows
        if (way, backward) not in self._packed:
            form = tiled if way == MANY else blocked
            self._packed[way, backward] = form(self.rows, self.sizes, backward)
        return self._packed[way, backward]

    @cached_property
    def plain(self) -> PlainPasses:
        """The passes by torch's operations."""
        return PlainPasses(self.weights, self.narrow, unpacked(self.rows, self.weights, self.sizes))

    def bind(self, context: Tensor | None) -> Bound:
        return Bound(self.weights.bind(context), self.sizes)

    def select(self, constants: Bound, index: Tensor) -> Bound:
        return constants.rows(index)

    def forward(self, code: Tensor, constants: Bound, keep: bool) -> tuple[Tensor, Tensor, Any]:
        rows, steps = code.shape[0], self.sizes.steps
        if rows >= PLAIN_ROWS and not self._by_tiles(rows):
            return self.plain.forward(code, constants.nets, keep)
        call = _Call(self, constants, rows)
        matrices = self.matrices(call.way, backward=False)
        at = call.at
        bits = np.empty(steps * self.sizes.blocks * 2 * rows * at.words, dtype=np.uint16)
        kept = Kept(bits, [])
        log_det = self.weights.log_det.expand(rows)
        codes = call.codes()
        codes[0].zero_()
        codes[0, :, : code.shape[1]] = code
        if self.additive:
            call(walk.forward, 0, steps, True, matrices, bits)
            return codes[steps % 2][:, self.results], log_det, kept
        for index, step in enumerate(self.weights.steps):
            call(walk.forward, index, index + 1, False, matrices, bits)
            moved = codes[1, :, self.sizes.half : self.sizes.half + step.moved]
            parameters = call.made()[:, : step.net.final_layer.out_features]
            if keep:
                kept.bends.append(Bend.of(step.coupling, moved, parameters))
                made, added = kept.bends[-1].result.detach(), kept.bends[-1].log_det.detach()
            else:
                made, added = step.coupling.bend(moved, parameters)
            moved.copy_(made)
            codes[0] = codes[1]
            log_det = log_det + added
        return codes[0][:, self.results], log_det, kept

    def backward(self, kept: Any, constants: Bound, gradient: Tensor, log_det_gradient: Tensor | None) -> Tensor:
        rows, steps, features = gradient.shape[0], self.sizes.steps, gradient.shape[1]
        if not isinstance(kept, Kept):
            return self.plain.backward(kept, constants.nets, gradient, log_det_gradient)
        call = _Call(self, constants, rows)
        matrices = self.matrices(call.way, backward=True)
        codes = call.codes()
        codes[0].zero_()
        codes[0][:, self.gradients] = gradient[:, self.weights.order]
        if self.additive:
            call(walk.backward, 0, steps, True, matrices, kept.bits)
            return codes[steps % 2, :, :features].clone()
        for index in range(steps - 1, -1, -1):
            step = self.weights.steps[index]
            moved = codes[0, :, self.sizes.half : self.sizes.half + step.moved]
            through, parameters = kept.bends[index].pull(moved, log_det_gradient)
            moved.copy_(through)
            call.made().zero_()
            call.made()[:, : parameters.shape[1]] = parameters
            call(walk.backward, index, index + 1, False, matrices, kept.bits)
            codes[0] = codes[1]
        return codes[0, :, :features].clone()

    def _by_tiles(self, rows: int) -> bool:
        """Whether so many rows are best sent through the matrix unit."""
        least = MANY_ROWS.get(self.rows.nets.dtype)
        return least is not None and rows >= least and usable()


class _Call:
    """One pass's scratch, and the call of its kernel on as many threads as are worth it."""

    def __init__(self, passes: CompiledPasses, constants: Bound, rows: int):
        self.passes = passes
        self.constants = constants.flat
        self.way = FEW if rows <= FEW_ROWS else MANY if passes._by_tiles(rows) else SOME
        work = rows * passes.rows.nets.numel()
        self.threads = max(1, min(torch.get_num_threads(), work // WORTH_A_THREAD))
        self.at: Layout = layout(passes.sizes, rows, self.threads, self.way == MANY, passes.narrow)
        self.values = torch.empty(self.at.values, dtype=passes.dtype)
        # By torch, which aligns to lines of cache: a tile whose rows lie across two takes twice as long.
        self.tiles = torch.empty(self.at.tiles, dtype=torch.int16).numpy().view(np.uint16)
        longest = len(passes.listed)
        self.entries = np.empty((1 + self.threads) * longest, dtype=np.int32)
        self.entries[:longest] = passes.listed

    def codes(self) -> Tensor:
        """Both codes, (2, rows, 2 half)."""
        return self._view(self.at.codes, 2 * self.at.lines, 2 * self.passes.sizes.half).unflatten(0, (2, -1))[
            :, : self.at.rows
        ]

    def made(self) -> Tensor:
        """What the conditioner made, (rows, parameters)."""
        return self._view(self.at.made, self.at.rows, self.passes.sizes.parameters)

    def _view(self, at: int, rows: int, width: int) -> Tensor:
        return self.values[at : at + rows * width].view(rows, width)

    def __call__(self, kernel, first: int, last: int, additive: bool, matrices: Packed, bits: np.ndarray) -> None:
        if self.at.rows == 0:
            return
        sizes = self.passes.sizes
        counters = np.zeros(2 * (2 + (last - first) * (3 + 2 * sizes.blocks)), dtype=np.int64)
        # Long rows are read best whole; else two turns, for threads that others hold up.
        shares = self.threads if self.threads == 1 or self.way == FEW else 2 * self.threads
        nets = matrices.nets
        # numpy knows no bfloat16; int16 means tiles to the kernels.
        nets = nets.view(torch.int16).numpy().view(np.uint16) if nets.dtype == torch.bfloat16 else nets.numpy()
        stride = 0 if len(self.constants) == 1 else self.constants.shape[1]
        arrays = (
            matrices.affines.numpy(), nets, self.passes.fixed, self.constants.flatten().numpy(), stride,
            self.values.numpy(), self.tiles, bits, self.entries, counters,
        )  # fmt: skip

        def work(member: int) -> None:
            kernel(sizes, self.at, self.way, member, shares, first, last, additive, *arrays)

        run(work, range(self.threads))
