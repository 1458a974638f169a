"""Coupling `skeleton-name`: scales and shifts one half of the code, given the other."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from lipflow_core.interfaces import Coupling
from lipflow_core.plans import CouplingInputs

from .config import SkeletonConfig


class Skeleton(Coupling):
    """y = x · exp(s) + t on one half of the features, with s = bound · tanh(ŝ) and (ŝ, t) a network of the other half.

    log|det ∂y/∂x| = Σ s. The network's last layer starts at zero, and the coupling as the identity.

    Args:
        config: Its options.
        given: Widths, and which half is transformed.
    """

    def __init__(self, config: SkeletonConfig, given: CouplingInputs):
        super().__init__(config, given)
        odd = torch.arange(given.features) % 2 == 1
        transformed = ~odd if given.flip else odd
        self.register_buffer("transformed", transformed.nonzero()[:, 0], persistent=False)
        self.register_buffer("kept", (~transformed).nonzero()[:, 0], persistent=False)
        widths = [len(self.kept) + given.context, *[given.hidden] * given.blocks]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.SiLU(), nn.Dropout(given.dropout)]
        last = nn.Linear(widths[-1], 2 * len(self.transformed))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.conditioner = nn.Sequential(*layers, last)

    def transform(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(code, context)
        half = code[:, self.transformed] * log_scale.exp() + shift
        return code.index_copy(1, self.transformed, half), log_scale.sum(-1)

    def invert(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(code, context)
        half = (code[:, self.transformed] - shift) * (-log_scale).exp()
        return code.index_copy(1, self.transformed, half), -log_scale.sum(-1)

    def _scale_and_shift(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        known = code[:, self.kept]
        if context is not None:
            known = torch.cat([known, context], dim=-1)
        raw_scale, shift = self.conditioner(known).chunk(2, dim=-1)
        return self.config.bound * raw_scale.tanh(), shift
