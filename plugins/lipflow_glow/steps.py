"""Layers of nflows with their defects mended, and its conditioner network.

State dicts are the same as those of nflows' own classes.
"""

from __future__ import annotations

import torch
from lipflow_kit.layers import SteadyBatchNorm
from nflows.nn.nets import ResidualNet
from nflows.transforms import ActNorm, LULinear
from torch import Tensor, nn

from lipflow_core.plans import CouplingInputs

SMALLEST_SPREAD = 1e-2
"""Smallest spread of a feature that ActNorm believes, as a fraction of the root mean square over all features."""


class ExplicitActNorm(ActNorm):
    """ActNorm, y = exp(s) ⊙ x + b, which is initialised from data only by `initialize`.

    That of nflows initialises itself from the first batch in training mode: one code gives NaN, and two to four codes
    make training unstable. Before `initialize` this class is the identity.
    """

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        outputs = torch.addcmul(self.shift, inputs, self.scale)
        return outputs, self.log_scale.sum().expand(inputs.shape[0])

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (inputs - self.shift) / self.scale, -self.log_scale.sum().expand(inputs.shape[0])

    @torch.no_grad()
    def initialize(self, inputs: Tensor) -> None:
        """Set scale and shift so that the outputs for `inputs` (N, D) have zero mean and unit variance.

        A constant feature is scaled by a bounded factor.
        """
        spread = inputs.std(dim=0)
        floor = (SMALLEST_SPREAD * spread.square().mean().sqrt()).clamp_min(1e-6)
        spread = spread.maximum(floor)
        self.log_scale.copy_(-spread.log())
        self.shift.copy_(-inputs.mean(dim=0) / spread)
        self.initialized.fill_(True)


class DeviceLULinear(LULinear):
    """Linear map y = L U x + b without a cache; its inverse works on every device and in every floating-point type."""

    def __init__(self, features: int):
        super().__init__(features, using_cache=False, identity_init=True)
        self.register_buffer("_lower", self._flat(self.lower_indices), persistent=False)
        self.register_buffer("_upper", self._flat(self.upper_indices), persistent=False)

    def _flat(self, indices: tuple) -> Tensor:
        rows, columns = (torch.from_numpy(index) for index in indices)
        return rows * self.features + columns

    def _create_lower_upper(self) -> tuple[Tensor, Tensor]:
        # The backward pass of scatter is a gather, which is several times cheaper than that of nflows' index_put.
        flat = self.lower_entries.new_zeros(self.features**2)
        lower = flat.scatter(0, self._lower, self.lower_entries).view(self.features, self.features)
        upper = flat.scatter(0, self._upper, self.upper_entries).view(self.features, self.features)
        return lower + torch.eye(self.features, dtype=flat.dtype, device=flat.device), upper + self.upper_diag.diag()

    def inverse_no_cache(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._create_lower_upper()
        outputs = (inputs - self.bias).t()
        outputs = torch.linalg.solve_triangular(lower, outputs, upper=False, unitriangular=True)
        outputs = torch.linalg.solve_triangular(upper, outputs, upper=True)
        return outputs.t(), -self.logabsdet().expand(inputs.shape[0])

    def use_cache(self, mode: bool = True) -> None:
        if mode:
            raise ValueError(
                "DeviceLULinear has no cache, since a cache could be out of date; leave out use_cache(True)"
            )


def conditioner(given: CouplingInputs, inputs: int, outputs: int) -> ResidualNet:
    """Build nflows' residual net from half of a code and the context, (B, inputs) and (B, h), to (B, outputs)."""
    net = ResidualNet(
        in_features=inputs,
        out_features=outputs,
        hidden_features=given.hidden,
        context_features=given.context or None,
        num_blocks=given.blocks,
        dropout_probability=given.dropout,
        use_batch_norm=given.batch_norm,
    )
    if given.batch_norm:
        for block in net.blocks:
            block.batch_norm_layers = nn.ModuleList(
                SteadyBatchNorm(layer.num_features, eps=layer.eps) for layer in block.batch_norm_layers
            )
    return net
