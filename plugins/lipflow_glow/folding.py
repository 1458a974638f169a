"""Folding of a glow flow in evaluation mode: once of its weights, then of its constants for each context.

In each step, ActNorm, the LU product and the split of the coupling become one dense affine map. In the conditioner, a
batch norm s ⊙ x + t before a ReLU is folded by

    relu(s x + t) = |s| relu(± (x + t / s))                   (minus where s < 0)

|s| goes into the next matrix. All constants, such as biases and the contribution of the context, go into the shift of
the next ReLU. A residual block then consists of two matrix products, two shifted ReLUs and one gated sum.

Codes and hidden units are columns here, (features, B).
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
"""Replaces a batch norm's slope of zero: the result is the same up to rounding, and t / s stays finite."""


@dataclass(frozen=True)
class ShiftedRelu:
    """The map x ↦ relu(± (x + shift)).

    Args:
        shift: (H, B or 1).
        sign: (H, 1), 1 or −1; None if it is 1 throughout.
    """

    shift: Tensor
    sign: Tensor | None

    def __call__(self, inputs: Tensor) -> Tensor:
        shifted = inputs + self.shift
        return shifted.relu_() if self.sign is None else shifted.mul_(self.sign).relu_()

    def pull(self, gradient: Tensor, outputs: Tensor) -> Tensor:
        """Compute the gradient with respect to the inputs from that with respect to the outputs."""
        through = torch.ops.aten.threshold_backward(gradient, outputs, 0)
        return through if self.sign is None else through.mul_(self.sign)

    def rows(self, index: Tensor) -> ShiftedRelu:
        return ShiftedRelu(self.shift[:, index], self.sign)


@dataclass(frozen=True)
class BoundBlock:
    """Constants of a residual block at fixed contexts.

    Args:
        first: The ReLU before the first matrix.
        second: The ReLU before the second matrix, which does not depend on the context.
        gate: (H, B or 1), factor of the block's output; None without a context.
    """

    first: ShiftedRelu
    second: ShiftedRelu
    gate: Tensor | None

    def rows(self, index: Tensor) -> BoundBlock:
        gate = None if self.gate is None else self.gate[:, index]
        return BoundBlock(self.first.rows(index), self.second, gate)


@dataclass(frozen=True)
class BoundNet:
    """Constants of a conditioner at fixed contexts; `offset` (parameters, B or 1) is added to the output."""

    blocks: tuple[BoundBlock, ...]
    offset: Tensor

    def rows(self, index: Tensor) -> BoundNet:
        return BoundNet(tuple(block.rows(index) for block in self.blocks), self.offset[:, index])


class StepMatrices(NamedTuple):
    """Matrices of a step, (outputs, inputs): the affine map, then those of the conditioner with two for each block."""

    affine: Tensor
    initial: Tensor
    blocks: tuple[tuple[Tensor, Tensor], ...]
    final: Tensor


class FoldedBlock:
    """A residual block without its two matrices."""

    def __init__(self, block: nn.Module):
        self.context_layer = getattr(block, "context_layer", None)
        first, second = block.linear_layers
        slope, intercept = _batch_norm(block, 0, first)
        after, after_intercept = _batch_norm(block, 1, first)
        self.first_shift = (intercept / slope)[:, None]
        self.sign = None if bool((slope > 0).all()) else slope.sign()[:, None]
        self.second_shift = (after * first.bias.detach() + after_intercept)[:, None]
        self.second_bias = second.bias.detach()[:, None]

    def bind(self, offset: Tensor, context: Tensor | None) -> tuple[BoundBlock, Tensor]:
        """Compute the constants at contexts (h, B).

        Args:
            offset: (H, B or 1), the constant part of the residual stream before the block.
            context: (h, B) or None.

        Returns:
            The constants, and the constant part of the stream after the block.
        """
        gate = None if context is None else torch.sigmoid(_linear(self.context_layer, context))
        first = ShiftedRelu(offset + self.first_shift, self.sign)
        block = BoundBlock(first, ShiftedRelu(self.second_shift, None), gate)
        return block, offset + (self.second_bias if gate is None else gate * self.second_bias)


class FoldedNet:
    """A conditioner, the residual net of nflows, without its matrices for the code."""

    def __init__(self, net: ResidualNet, inputs: int):
        self.context_weight = net.initial_layer.weight.detach()[:, inputs:]
        self.initial_bias = net.initial_layer.bias.detach()[:, None]
        self.blocks = [FoldedBlock(block) for block in net.blocks]
        self.final_layer = net.final_layer

    def bind(self, context: Tensor | None) -> BoundNet:
        offset = self.initial_bias
        if context is not None:
            offset = torch.addmm(offset, self.context_weight, context)
        blocks = []
        for block in self.blocks:
            bound, offset = block.bind(offset, context)
            blocks.append(bound)
        return BoundNet(tuple(blocks), _linear(self.final_layer, offset))


class FoldedStep:
    """A folded step: z ↦ A z + b, whose results begin with the features that the coupling keeps, then the coupling.

    Args:
        norm: The ActNorm of the step.
        linear: The LU linear map of the step.
        coupling: The coupling of the step.
        order: (D,) int64, the feature that each incoming row holds.
    """

    def __init__(self, norm: ExplicitActNorm, linear: DeviceLULinear, coupling: HalfCoupling, order: Tensor):
        self.coupling = coupling
        self.kept = len(coupling.identity_features)
        self.moved = len(coupling.transform_features)
        self.order = torch.cat([coupling.identity_features, coupling.transform_features])
        weight = linear.weight().detach().double()
        bias = weight @ norm.shift.detach().double() + linear.bias.detach().double()
        self.bias = bias[self.order, None].to(linear.bias.dtype)
        self.affine = (weight * norm.scale.detach().double())[self.order][:, order].to(linear.bias.dtype)
        self.net = FoldedNet(coupling.transform_net, self.kept)
        self.log_det = norm.log_scale.detach().double().sum() + linear.logabsdet().detach().double()

    def matrices(self) -> StepMatrices:
        """Return the matrices. They are views of the flow's parameters where nothing is folded into them."""
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
    """Everything in a flow that does not depend on the context, folded for evaluation mode.

    Args:
        layers: ActNorm, linear map and coupling of each step.

    Attributes:
        steps: The folded steps.
        log_det: (), the part of log|det| that is the same for every code.
        order: (D,) int64, the feature that each row after the last step holds.
        unsort: (D,) int64, the inverse of `order`.
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
        """Compute each step's constants at contexts (B, h); for None they have one column, which broadcasts."""
        columns = None if context is None else context.t()
        return tuple(step.net.bind(columns) for step in self.steps)


def _linear(layer: nn.Linear, inputs: Tensor) -> Tensor:
    return torch.addmm(layer.bias.detach()[:, None], layer.weight.detach(), inputs)


def _batch_norm(block: nn.Module, which: int, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return slope and intercept (H,) of a block's batch norm in evaluation mode; 1 and 0 without batch norm."""
    if not block.use_batch_norm:
        ones = torch.ones_like(linear.bias.detach())
        return ones, torch.zeros_like(ones)
    norm = block.batch_norm_layers[which]
    slope = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
    slope = torch.where(slope.abs() < SMALLEST_SLOPE, SMALLEST_SLOPE, slope)
    return slope, norm.bias.detach() - slope * norm.running_mean
