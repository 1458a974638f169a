"""Linear and convolution layers whose weight is a direction times one gain: W = c · g · v / ‖v‖, one norm per tensor.

The constant c is the expected norm of the initial weight, so that g starts at 1 whatever the layer's size. With g in
absolute units, a layer of a million weights would start at g ≈ 100 and Adam, which moves every number by about the
learning rate, could not change its scale within a short training.

Because the layers are linear in W, the scalar s = c · g / ‖v‖ may multiply the input, the weight or the output. It
multiplies the smallest of them, so that the mesh's wide layers (millions of weights, thousands of activations) never
write a second copy of their weight, as `torch.nn.utils.parametrizations.weight_norm` does. The gradient through the
norm is added to the layer's own in one pass.

While a model is frozen, W is constant and is computed once: a fit's steps see plain layers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lipflow_core.interfaces import Foldable
from lipflow_dam.tiles import cleared, cut


class DirectionAndScale(torch.autograd.Function):
    """Computes (v, g, c) → (v, s, 1 / ‖v‖) with s = c · g / ‖v‖, which is multiplied later.

    With G the gradient of the loss by v at fixed s, the gradient by v is G − (∂L/∂s) s v / ‖v‖², one fused pass; by g
    it is (∂L/∂s) c / ‖v‖. 1 / ‖v‖ is kept for the derivatives and has none itself.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, gain: Tensor, norm: float) -> tuple[Tensor, Tensor, Tensor]:
        inverse_norm = torch.linalg.vector_norm(weight).reciprocal()
        return weight.view_as(weight), gain * norm * inverse_norm, inverse_norm

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: tuple[Tensor, Tensor, Tensor]) -> None:
        weight, _, ctx.norm = inputs
        _, scale, inverse_norm = output
        ctx.mark_non_differentiable(inverse_norm)
        ctx.save_for_backward(weight, inverse_norm, scale)
        ctx.save_for_forward(weight, inverse_norm, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight_grad: Tensor, scale_grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, inverse_norm, scale = ctx.saved_tensors
        along = -scale_grad * scale * inverse_norm.square()
        return torch.addcmul(weight_grad, weight, along), scale_grad * ctx.norm * inverse_norm, None

    @staticmethod
    def jvp(ctx: Any, weight_tangent: Tensor, gain_tangent: Tensor, _: None) -> tuple[Tensor, Tensor, None]:
        weight, inverse_norm, scale = ctx.saved_tensors
        shrinking = scale * inverse_norm.square() * (weight * weight_tangent).sum()
        return weight_tangent.view_as(weight_tangent), gain_tangent * ctx.norm * inverse_norm - shrinking, None


class WeightNormed(Foldable, nn.Module):
    """Base of the weight-normed layers, which holds v, g and the bias. Implement `operation`.

    Args:
        weight_shape: Shape of v.
        bias_shape: Shape of the bias: one number per channel, or a shape that broadcasts over the output.
        std: Standard deviation of the initial v, and of the initial W.
    """

    def __init__(self, weight_shape: tuple[int, ...], bias_shape: tuple[int, ...], std: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(weight_shape) * std)
        self.gain = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(bias_shape))
        self.norm = std * math.sqrt(self.weight.numel())
        self.folded: Tensor | None = None

    def fold(self) -> None:
        with torch.no_grad():
            self.folded = self.weight * (self.gain * self.norm / torch.linalg.vector_norm(self.weight))

    def unfold(self) -> None:
        self.folded = None

    def forward(self, x: Tensor) -> Tensor:
        if self.folded is not None:
            return self.operation(x, self.folded)
        return self.normed(x)

    def normed(self, x: Tensor) -> Tensor:
        """Apply the layer with gradients to v and g."""
        weight, scale, _ = DirectionAndScale.apply(self.weight, self.gain, self.norm)
        # Scaling an input that carries no gradient would make the operation compute one for it.
        if x.requires_grad and x.numel() < weight.numel():
            return self.operation(x * scale, weight)
        return self.operation(x, weight * scale)

    def operation(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply the layer with a given weight, bias included."""
        raise NotImplementedError


class NormedLinear(WeightNormed):
    """A dense layer, (B, in) → (B, out).

    Args:
        inputs: Width of the input.
        outputs: Width of the output.
        slope: Negative slope of the LeakyReLU that follows, which sets the initial scale; 1 without one.
        scale: Factor on the initial weight.
    """

    def __init__(self, inputs: int, outputs: int, slope: float = 1.0, scale: float = 1.0):
        super().__init__((outputs, inputs), (outputs,), scale * leaky_gain(slope) / math.sqrt(inputs))

    def normed(self, x: Tensor) -> Tensor:
        outputs, inputs = self.weight.shape
        if not (x.requires_grad and inputs <= outputs) and x.shape[0] < inputs:
            weight, scale, _ = DirectionAndScale.apply(self.weight, self.gain, self.norm)
            return torch.addcmul(self.bias, functional.linear(x, weight), scale)
        return super().normed(x)

    def operation(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(x, weight, self.bias)


class NormedConv(WeightNormed):
    """A convolution k4 s2 p1, (B, in, H, W) → (B, out, H/2, W/2), with one bias per channel."""

    def __init__(self, inputs: int, outputs: int, slope: float):
        super().__init__((outputs, inputs, 4, 4), (outputs,), leaky_gain(slope) / math.sqrt(inputs * 16))

    def operation(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.conv2d(x, weight, self.bias, stride=2, padding=1)


class NormedUpConv(WeightNormed):
    """A transposed convolution k4 s2 p1, (B, in, S, S) → (B, out, 2S, 2S), with one bias per output texel.

    Args:
        inputs: Number of channels of the input.
        outputs: Number of channels of the output.
        side: Side 2S of the output, in texels.
        slope: Negative slope of the LeakyReLU that follows; 1 without one.
        scale: Factor on the initial weight.
    """

    def __init__(self, inputs: int, outputs: int, side: int, slope: float = 1.0, scale: float = 1.0):
        # Each output texel sees 4 of the 16 taps.
        std = scale * leaky_gain(slope) / math.sqrt(inputs * 4)
        # Stored channels last, like the activations: adding it to them then reads both in order.
        super().__init__((inputs, outputs, 4, 4), (side, side, outputs), std)
        self.slope = slope

    def operation(self, x: Tensor, weight: Tensor) -> Tensor:
        bias = rearrange(self.bias, "h w c -> c h w")
        return functional.conv_transpose2d(x, weight, stride=2, padding=1).add_(bias)

    def quads(self) -> Tensor:
        """Return the weight of the convolution k2 whose outputs are the 2×2 texels between 2×2 inputs.

        Returns:
            (4 · out, in, 2, 2), channels last; outputs are ordered by row, column and channel.
        """
        weight = self.folded
        if weight is None:
            direction, scale, _ = DirectionAndScale.apply(self.weight, self.gain, self.norm)
            weight = direction * scale
        quads = rearrange(weight, "i o (ty dy) (tx dx) -> (dy dx o) i ty tx", dy=2, dx=2).flip(-2, -1)
        return quads.contiguous(memory_format=torch.channels_last)

    def tiles(self, x: Tensor, quads: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
        """Compute squares of the output, and the LeakyReLU that follows.

        Args:
            x: (M, in, H, H) squares of the input, from row ⌊(top − 1) / 2⌋ and column ⌊(left − 1) / 2⌋ on; zero outside
                of the input.
            quads: Result of `quads`.
            top, left: (M,) int64, first row and column of each square; all odd or all even.
            size: Side of the squares.

        Returns:
            (M, out, size, size), channels last, zero outside of the output.
        """
        made = rearrange(functional.conv2d(x, quads), "m (dy dx o) h w -> m (h dy) (w dx) o", dy=2, dx=2)
        beyond = made.shape[1] - size
        if beyond:  # no slice, whose backward pass would copy twice
            made = functional.pad(made, (0, 0, *4 * [-beyond // 2]))
        made = cut(self.bias[None], torch.zeros_like(top), top, left, size).add_(made)
        if self.slope != 1:
            made = functional.leaky_relu_(made, self.slope)
        return rearrange(cleared(made, top, left, len(self.bias)), "m h w o -> m o h w")


def leaky_gain(slope: float) -> float:
    """Compute √(2 / (1 + slope²)), the factor on weights that keeps the variance through a LeakyReLU."""
    return math.sqrt(2 / (1 + slope**2))
