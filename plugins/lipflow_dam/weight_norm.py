"""Linear and convolution layers whose weight is a direction times one gain: W = g · v / ‖v‖, one norm per tensor.

Because the layers are linear, the scalar g / ‖v‖ may multiply the input, the weight or the output. Whichever tensor is
the smallest takes it, so that the mesh's wide layers (millions of weights, thousands of activations) never write a
second copy of their weight, as `torch.nn.utils.parametrizations.weight_norm` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class WeightNormed(nn.Module):
    """Base of the layers: v, g and how the scale is applied.

    Args:
        weight_shape: Shape of v.
        bias_shape: Shape of the bias, broadcast over the output.
        std: Standard deviation of the initial v; g starts as ‖v‖, so that W starts as v.
    """

    def __init__(self, weight_shape: tuple[int, ...], bias_shape: tuple[int, ...], std: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(weight_shape) * std)
        self.gain = nn.Parameter(self.weight.detach().norm())
        self.bias = nn.Parameter(torch.zeros(bias_shape))

    def apply_normed(self, operation: Callable[[Tensor, Tensor], Tensor], x: Tensor, output_numel: int) -> Tensor:
        """operation(x, W) + bias for an operation that is linear in both.

        Args:
            operation: Takes input and weight.
            x: Its input.
            output_numel: Number of elements of its output.
        """
        scale = self.gain / torch.linalg.vector_norm(self.weight)
        if output_numel <= min(x.numel(), self.weight.numel()):
            return torch.addcmul(self.bias, operation(x, self.weight), scale)
        # Scaling an input that carries no gradient would make the operation compute one for it.
        if x.requires_grad and x.numel() < self.weight.numel():
            return operation(x * scale, self.weight) + self.bias
        return operation(x, self.weight * scale) + self.bias


class NormedLinear(WeightNormed):
    """Dense layer, (B, in) → (B, out).

    Args:
        inputs: Width of the input.
        outputs: Width of the output.
        slope: Negative slope of the LeakyReLU that follows, 1 if none does; sets the initial scale.
        scale: Further factor on the initial weight.
    """

    def __init__(self, inputs: int, outputs: int, slope: float = 1.0, scale: float = 1.0):
        super().__init__((outputs, inputs), (outputs,), scale * leaky_gain(slope) / math.sqrt(inputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_normed(functional.linear, x, x.shape[0] * self.weight.shape[0])


class NormedConv(WeightNormed):
    """Convolution k4 s2 p1, (B, in, H, W) → (B, out, H/2, W/2), with one bias per channel."""

    def __init__(self, inputs: int, outputs: int, slope: float):
        super().__init__((outputs, inputs, 4, 4), (outputs, 1, 1), leaky_gain(slope) / math.sqrt(inputs * 16))

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_normed(_conv, x, x.shape[0] * self.weight.shape[0] * x.shape[2] * x.shape[3] // 4)


class NormedUpConv(WeightNormed):
    """Transposed convolution k4 s2 p1, (B, in, S, S) → (B, out, 2S, 2S), with one bias per output texel.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        side: 2S.
        slope: As in `NormedLinear`.
        scale: As in `NormedLinear`.
    """

    def __init__(self, inputs: int, outputs: int, side: int, slope: float = 1.0, scale: float = 1.0):
        # Each output texel sees 4 of the 16 taps.
        std = scale * leaky_gain(slope) / math.sqrt(inputs * 4)
        super().__init__((inputs, outputs, 4, 4), (outputs, side, side), std)

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_normed(_up_conv, x, x.shape[0] * self.bias.numel())


def leaky_gain(slope: float) -> float:
    """√(2 / (1 + slope²)): keeps the variance through a LeakyReLU."""
    return math.sqrt(2 / (1 + slope**2))


def _conv(x: Tensor, weight: Tensor) -> Tensor:
    return functional.conv2d(x, weight, stride=2, padding=1)


def _up_conv(x: Tensor, weight: Tensor) -> Tensor:
    return functional.conv_transpose2d(x, weight, stride=2, padding=1)
