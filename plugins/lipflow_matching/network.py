"""The residual network behind the velocity, conditioned on time and features, with its own directional derivatives."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import silu

_FREQUENCIES = 8


class VelocityNetwork(nn.Module):
    """Maps y (…, D), time t and features h to n(y, t; h) (…, D), by which a velocity differs from that of a Gaussian.

    Its output is zero before training. Features and time shift the input of each layer, so that the shifts of the
    features can be computed once.

    Args:
        code: Size D of the code.
        features: Width of h; 0 for none.
        hidden: Width of the layers.
        blocks: Number of residual blocks of two layers.
    """

    def __init__(self, code: int, features: int, hidden: int, blocks: int):
        super().__init__()
        self.layers = 1 + blocks
        self.first = nn.Linear(code, hidden)
        self.inner = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(blocks))
        self.last = nn.Linear(hidden, code)
        self.time = nn.Linear(_FREQUENCIES, self.layers * hidden, bias=False)
        self.features = nn.Linear(features, self.layers * hidden, bias=False) if features else None
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def context(self, features: Tensor) -> Tensor:
        """Compute the shifts of features (B, h), one for each layer: (layers, B, hidden)."""
        return rearrange(self.features(features), "b (layer width) -> layer b width", layer=self.layers)

    def shifts(self, context: Tensor | None, time: Tensor) -> list[Tensor]:
        """Add the shifts of features and time, one sum for each layer.

        Args:
            context: Result of `context`; None without features.
            time: (…, 1), which broadcasts against the codes.
        """
        order = torch.arange(1, _FREQUENCIES + 1, device=time.device, dtype=time.dtype)
        times = self.time(torch.cos(math.pi * time * order)).chunk(self.layers, dim=-1)
        return list(times) if context is None else [t + c for t, c in zip(times, context, strict=True)]

    def forward(self, code: Tensor, shifts: list[Tensor]) -> Tensor:
        """Compute n at codes (…, D)."""
        state = self.first(code) + shifts[0]
        for inner, outer, shift in zip(self.inner, self.outer, shifts[1:], strict=True):
            state = state + outer(silu(inner(silu(state)) + shift))
        return self.last(silu(state))

    def with_trace(self, code: Tensor, shifts: list[Tensor], probes: Tensor) -> tuple[Tensor, Tensor]:
        """Compute n at codes (B, D), and Σ_k vᵀ_k (∂n/∂y) v_k, (B,), for probes v (K, D).

        For the D unit vectors the sum is the trace of the Jacobian. It is not computed by torch.func, so that it is an
        ordinary graph of matrix products with gradients.
        """
        weight = self.first.weight
        state, tangent = self.first(code) + shifts[0], rearrange(probes @ weight.mT, "k width -> k 1 width")
        for inner, outer, shift in zip(self.inner, self.outer, shifts[1:], strict=True):
            middle, slope = _silu(state)
            moved = (tangent * slope) @ inner.weight.mT
            middle, slope = _silu(inner(middle) + shift)
            state, tangent = state + outer(middle), tangent + (moved * slope) @ outer.weight.mT
        middle, slope = _silu(state)
        # vᵀ (W t) = (Wᵀ v)ᵀ t saves the product with the last layer for every code.
        back = rearrange(probes @ self.last.weight, "k width -> k 1 width")
        return self.last(middle), (tangent * slope * back).sum(dim=(0, 2))


def _silu(value: Tensor) -> tuple[Tensor, Tensor]:
    """Compute silu and its derivative."""
    gate = torch.sigmoid(value)
    return value * gate, gate * (1 + value * (1 - gate))
