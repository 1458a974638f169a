"""Folding a glow flow in evaluation mode: first its weights, once; then, for each context, its constants.

Per step, ActNorm, the LU product and the coupling's split are one dense affine map. In the conditioner, a batch norm
s ⊙ x + t before a ReLU is folded by

    relu(s x + t) = |s| relu(± (x + t / s))                   (minus where s < 0)

so that |s| goes into the next matrix and everything constant, biases and what the context contributes included, into
what is added before the next ReLU. A residual block is then two matrix products, two shifted ReLUs and one gated sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from nflows.nn.nets import ResidualNet
from torch import Tensor, nn

from lipflow_glow.couplings import HalfCoupling
from lipflow_glow.steps import DeviceLULinear, ExplicitActNorm

SMALLEST_SLOPE = 1e-24
"""A batch norm's slope of zero is replaced by this: the result is the same to rounding, and θ stays finite."""


@dataclass(frozen=True)
class ShiftedRelu:
    """x ↦ relu(± (x + shift)).

    Args:
        shift: (B or 1, H).
        sign: (H,), 1 or −1; None if it is 1 throughout.
    """

    shift: Tensor
    sign: Tensor | None

    def __call__(self, inputs: Tensor) -> Tensor:
        shifted = inputs + self.shift
        return shifted.relu_() if self.sign is None else shifted.mul_(self.sign).relu_()

    def pull(self, gradient: Tensor, outputs: Tensor) -> Tensor:
        """The gradient with respect to the inputs, from that with respect to the outputs."""
        through = torch.ops.aten.threshold_backward(gradient, outputs, 0)
        return through if self.sign is None else through.mul_(self.sign)

    def rows(self, index: Tensor) -> ShiftedRelu:
        return ShiftedRelu(self.shift[index], self.sign)


@dataclass(frozen=True)
class BoundBlock:
    """Constants of a residual block at fixed contexts; `gate` is (B, H), or None without a context.

    Those of `second` do not depend on the context.
    """

    first: ShiftedRelu
    second: ShiftedRelu
    gate: Tensor | None

    def rows(self, index: Tensor) -> BoundBlock:
        gate = None if self.gate is None else self.gate[index]
        return BoundBlock(self.first.rows(index), self.second, gate)


@dataclass(frozen=True)
class BoundNet:
    """Constants of a conditioner at fixed contexts; `offset` (B or 1, parameters) is added to its output."""

    blocks: tuple[BoundBlock, ...]
    offset: Tensor

    def rows(self, index: Tensor) -> BoundNet:
        return BoundNet(tuple(block.rows(index) for block in self.blocks), self.offset[index])


class StepMatrices(NamedTuple):
    """A step's matrices, (outputs, inputs) each: of the affine map, then of the conditioner with two per block."""

    affine: Tensor
    initial: Tensor
    blocks: tuple[tuple[Tensor, Tensor], ...]
    final: Tensor


class FoldedBlock:
    """What of a residual block is not its two matrices."""

    def __init__(self, block: nn.Module):
        self.context_layer = getattr(block, "context_layer", None)
        first, second = block.linear_layers
        slope, intercept = _batch_norm(block, 0, first)
        after, after_intercept = _batch_norm(block, 1, first)
        self.first_shift = intercept / slope
        self.sign = None if bool((slope > 0).all()) else slope.sign()
        self.second_shift = (after * first.bias.detach() + after_intercept)[None]
        self.second_bias = second.bias.detach()

    def bind(self, offset: Tensor, context: Tensor | None) -> tuple[BoundBlock, Tensor]:
        """Constants at contexts, given the constant part of the stream before the block; and that after it."""
        gate = None if context is None else torch.sigmoid(_linear(self.context_layer, context))
        first = ShiftedRelu(offset + self.first_shift, self.sign)
        block = BoundBlock(first, ShiftedRelu(self.second_shift, None), gate)
        return block, offset + (self.second_bias if gate is None else gate * self.second_bias)


class FoldedNet:
    """What of a conditioner, nflows' residual net, is not its matrices for the code."""

    def __init__(self, net: ResidualNet, inputs: int):
        self.context_weight = net.initial_layer.weight.detach()[:, inputs:]
        self.initial_bias = net.initial_layer.bias.detach()
        self.blocks = [FoldedBlock(block) for block in net.blocks]
        self.final_layer = net.final_layer

    def bind(self, context: Tensor | None) -> BoundNet:
        offset = self.initial_bias[None]
        if context is not None:
            offset = offset + torch.nn.functional.linear(context, self.context_weight)
        blocks = []
        for block in self.blocks:
            bound, offset = block.bind(offset, context)
            blocks.append(bound)
        return BoundNet(tuple(blocks), _linear(self.final_layer, offset))


class FoldedStep:
    """One step: z ↦ A z + b with the features that the coupling keeps in front, then the coupling.

    Args:
        norm: Its ActNorm.
        linear: Its LU linear map.
        coupling: Its coupling.
        order: (D,) int64, which feature each of the incoming columns is.
    """

    def __init__(self, norm: ExplicitActNorm, linear: DeviceLULinear, coupling: HalfCoupling, order: Tensor):
        self.coupling = coupling
        self.kept = len(coupling.identity_features)
        self.moved = len(coupling.transform_features)
        self.order = torch.cat([coupling.identity_features, coupling.transform_features])
        weight = linear.weight().detach().double()
        bias = weight @ norm.shift.detach().double() + linear.bias.detach().double()
        self.bias = bias[self.order].to(linear.bias.dtype)
        self.affine = (weight * norm.scale.detach().double())[self.order][:, order].to(linear.bias.dtype)
        self.net = FoldedNet(coupling.transform_net, self.kept)
        self.log_det = norm.log_scale.detach().double().sum() + linear.logabsdet().detach().double()

    def matrices(self) -> StepMatrices:
        """Its matrices; views of the flow's parameters where nothing is folded into them."""
        net = self.coupling.transform_net
        blocks = []
        for block in net.blocks:
            first, second = block.linear_layers
            slope, _ = _batch_norm(block, 0, first)
            after, _ = _batch_norm(block, 1, first)
            blocks.append((after[:, None] * first.weight.detach() * slope.abs(), second.weight.detach()))
        initial = net.initial_layer.weight.detach()[:, : self.kept]
        return StepMatrices(self.affine, initial, tuple(blocks), net.final_layer.weight.detach())


class FoldedWeights:
    """All of a flow that does not depend on the context, for evaluation mode.

    Attributes:
        steps: The steps in order.
        log_det: (), the part of log|det| that is the same for every code.
        unsort: (D,) int64, puts the last step's features back in order.
    """

    @torch.no_grad()
    def __init__(self, layers: list[tuple[ExplicitActNorm, DeviceLULinear, HalfCoupling]]):
        device = layers[0][1].bias.device
        order = torch.arange(layers[0][1].features, device=device)
        self.steps = []
        for norm, linear, coupling in layers:
            self.steps.append(FoldedStep(norm, linear, coupling, order))
            order = self.steps[-1].order
        self.order = order
        self.unsort = order.argsort()
        self.log_det = sum(step.log_det for step in self.steps).to(layers[0][1].bias.dtype)

    @torch.no_grad()
    def bind(self, context: Tensor | None) -> tuple[BoundNet, ...]:
        """The steps' constants at contexts (B, h), or None for one row of them that broadcasts."""
        return tuple(step.net.bind(context) for step in self.steps)


def _linear(layer: nn.Linear, inputs: Tensor) -> Tensor:
    return torch.nn.functional.linear(inputs, layer.weight.detach(), layer.bias.detach())


def _batch_norm(block: nn.Module, which: int, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Slope and intercept (H,) of a block's batch norm in evaluation mode; 1 and 0 if it has none."""
    if not block.use_batch_norm:
        ones = torch.ones_like(linear.bias.detach())
        return ones, torch.zeros_like(ones)
    norm = block.batch_norm_layers[which]
    slope = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
    slope = torch.where(slope.abs() < SMALLEST_SLOPE, SMALLEST_SLOPE, slope)
    return slope, norm.bias.detach() - slope * norm.running_mean
