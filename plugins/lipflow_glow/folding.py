"""Folding a glow flow in evaluation mode: first its weights, once; then, for each context, its constants.

Per step, ActNorm, the LU product and the coupling's split are one dense affine map. In the conditioner, a batch norm
s ⊙ x + t before a ReLU is folded by

    relu(s x + t) = s (max(x, θ) − θ),  θ = −t / s            (min in place of max where s < 0)

so that s goes into the next matrix and everything constant, biases and what the context contributes included, into
the next threshold. A residual block is then two matrix products, two clamps and one gated sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from nflows.nn.nets import ResidualNet
from torch import Tensor, nn

from lipflow_glow.couplings import HalfCoupling
from lipflow_glow.products import Precision, TwoWay
from lipflow_glow.steps import DeviceLULinear, ExplicitActNorm

SMALLEST_SLOPE = 1e-24
"""A batch norm's slope of zero is replaced by this: the result is the same to rounding, and θ stays finite."""


@dataclass(frozen=True)
class Clamp:
    """x ↦ max(x, θ) where the slope before it is positive, min(x, θ) where it is negative.

    Args:
        threshold: θ, (B or 1, H).
        rising: (H,) bool, None if all slopes are positive.
    """

    threshold: Tensor
    rising: Tensor | None

    def __call__(self, inputs: Tensor) -> Tensor:
        if self.rising is None:
            return torch.maximum(inputs, self.threshold)
        clamped = torch.where(self.rising, torch.maximum(inputs, self.threshold), inputs.minimum(self.threshold))
        return clamped

    def passes(self, inputs: Tensor) -> Tensor:
        """Where the derivative is 1, (B, H) bool."""
        above = inputs > self.threshold
        return above if self.rising is None else torch.where(self.rising, above, inputs < self.threshold)

    def rows(self, index: Tensor) -> Clamp:
        return Clamp(self.threshold[index], self.rising)


@dataclass(frozen=True)
class BoundBlock:
    """Constants of a residual block at fixed contexts; `gate` is (B, H), or None without a context."""

    first: Clamp
    second: Clamp
    gate: Tensor | None

    def rows(self, index: Tensor) -> BoundBlock:
        gate = None if self.gate is None else self.gate[index]
        return BoundBlock(self.first.rows(index), self.second.rows(index), gate)


@dataclass(frozen=True)
class BoundNet:
    """Constants of a conditioner at fixed contexts; `offset` (B or 1, parameters) is added to its output."""

    blocks: tuple[BoundBlock, ...]
    offset: Tensor

    def rows(self, index: Tensor) -> BoundNet:
        return BoundNet(tuple(block.rows(index) for block in self.blocks), self.offset[index])


class FoldedBlock:
    """Weights of a residual block: two matrices with its batch norms in them."""

    def __init__(self, block: nn.Module, precision: Precision):
        self.context_layer = getattr(block, "context_layer", None)
        first, second = block.linear_layers
        slope, self.intercept = _batch_norm(block, 0, first)
        after, after_intercept = _batch_norm(block, 1, first)
        self.rising = None if bool((slope > 0).all()) else slope > 0
        self.slope = slope
        self.first = TwoWay(after[:, None] * first.weight.detach() * slope, precision)
        self.first_bias = after * first.bias.detach() + after_intercept
        self.second = TwoWay(second.weight.detach(), precision)
        self.second_weight = second.weight.detach()
        self.second_bias = second.bias.detach()
        self.first_weight = (after, first.weight.detach())

    def bind(self, offset: Tensor, context: Tensor | None) -> tuple[BoundBlock, Tensor]:
        """Constants at contexts, given the constant part of the stream before the block; and that after it."""
        threshold = -self.intercept / self.slope - offset
        after, weight = self.first_weight
        constant = self.first_bias - after * torch.nn.functional.linear(self.slope * threshold, weight)
        gate = None if context is None else torch.sigmoid(_linear(self.context_layer, context))
        added = self.second_bias + torch.nn.functional.linear(constant, self.second_weight)
        block = BoundBlock(Clamp(threshold, self.rising), Clamp(-constant, None), gate)
        return block, offset + (added if gate is None else gate * added)

    def run(self, stream: Tensor, bound: BoundBlock, masks: list[Tensor] | None) -> Tensor:
        if masks is not None:
            masks.append(bound.first.passes(stream))
        middle = self.first.forward(bound.first(stream))
        if masks is not None:
            masks.append(bound.second.passes(middle))
        added = self.second.forward(bound.second(middle))
        return stream + added if bound.gate is None else torch.addcmul(stream, bound.gate, added)

    def pull(self, gradient: Tensor, bound: BoundBlock, masks: list[Tensor]) -> Tensor:
        """Vector-Jacobian product; takes this block's masks off the end of `masks`."""
        through = gradient if bound.gate is None else gradient * bound.gate
        through = self.second.back(through).mul_(masks.pop())
        return torch.addcmul(gradient, self.first.back(through), masks.pop())


class FoldedNet:
    """A conditioner, nflows' residual net, with its batch norms in its matrices."""

    def __init__(self, net: ResidualNet, inputs: int, precision: Precision):
        initial, final = net.initial_layer, net.final_layer
        self.initial = TwoWay(initial.weight.detach()[:, :inputs], precision)
        self.context_weight = initial.weight.detach()[:, inputs:]
        self.initial_bias = initial.bias.detach()
        self.blocks = [FoldedBlock(block, precision) for block in net.blocks]
        self.final = TwoWay(final.weight.detach(), precision)
        self.final_layer = final

    def bind(self, context: Tensor | None) -> BoundNet:
        offset = self.initial_bias[None]
        if context is not None:
            offset = offset + torch.nn.functional.linear(context, self.context_weight)
        blocks = []
        for block in self.blocks:
            bound, offset = block.bind(offset, context)
            blocks.append(bound)
        return BoundNet(tuple(blocks), _linear(self.final_layer, offset))

    def run(self, kept: Tensor, bound: BoundNet, masks: list[Tensor] | None) -> Tensor:
        """(B, kept features) → (B, parameters); appends what `pull` needs to `masks`."""
        stream = self.initial.forward(kept)
        for block, constants in zip(self.blocks, bound.blocks, strict=True):
            stream = block.run(stream, constants, masks)
        return self.final.forward(stream) + bound.offset

    def pull(self, gradient: Tensor, bound: BoundNet, masks: list[Tensor]) -> Tensor:
        stream = self.final.back(gradient)
        masks = list(masks)
        for block, constants in zip(reversed(self.blocks), reversed(bound.blocks), strict=True):
            stream = block.pull(stream, constants, masks)
        return self.initial.back(stream)


class FoldedStep:
    """One step: z ↦ A z + b with the features that the coupling keeps in front, then the coupling.

    Args:
        norm: Its ActNorm.
        linear: Its LU linear map.
        coupling: Its coupling.
        order: (D,) int64, which feature each of the incoming columns is.
        precision: Of the conditioner's matrices.
    """

    def __init__(
        self, norm: ExplicitActNorm, linear: DeviceLULinear, coupling: HalfCoupling, order: Tensor, precision: Precision
    ):
        self.coupling = coupling
        self.kept = len(coupling.identity_features)
        self.order = torch.cat([coupling.identity_features, coupling.transform_features])
        weight = linear.weight().detach().double()
        bias = weight @ norm.shift.detach().double() + linear.bias.detach().double()
        affine = (weight * norm.scale.detach().double())[self.order][:, order]
        dtype = linear.bias.dtype
        self.affine = TwoWay(affine.to(dtype))
        self.bias = bias[self.order].to(dtype)
        self.net = FoldedNet(coupling.transform_net, self.kept, precision)
        self.log_det = norm.log_scale.detach().double().sum() + linear.logabsdet().detach().double()


class FoldedWeights:
    """All of a flow that does not depend on the context, for evaluation mode.

    Attributes:
        steps: The steps in order.
        log_det: (), the part of log|det| that is the same for every code.
        unsort: (D,) int64, puts the last step's features back in order.
    """

    @torch.no_grad()
    def __init__(self, layers: list[tuple[ExplicitActNorm, DeviceLULinear, HalfCoupling]], precision: Precision):
        device = layers[0][1].bias.device
        order = torch.arange(layers[0][1].features, device=device)
        self.steps = []
        for norm, linear, coupling in layers:
            self.steps.append(FoldedStep(norm, linear, coupling, order, precision))
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
