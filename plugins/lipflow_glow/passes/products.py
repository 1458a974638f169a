"""Products with a constant matrix, each by the fastest known way for its batch and the machine."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lipflow_glow.config import GlowConfig

FEW = 4
"""Largest batch for which the compiled kernels make a fit at least 1.2 times as fast."""
LARGE = 1 << 20
"""Smallest number of weights of a matrix for which they do: smaller matrices stay in the nearest caches."""
THREADS = 2
"""Largest number of torch's threads for which they do: the kernels use one, and more threads share out `torch.mm`."""
WORTH_NARROWING = 1 << 22
"""Smallest number of multiplications for which bfloat16 pays for converting inputs and outputs."""


def has_matrix_unit() -> bool:
    """Tell whether oneDNN multiplies bfloat16 by a matrix unit here (Intel AMX); elsewhere float32 is faster."""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "AMX").upper()
    return torch.cpu._is_amx_tile_supported() and ("AMX" in allowed or allowed in ("ALL", "DEFAULT"))


class Choice(NamedTuple):
    """The ways that a flow's products may go.

    Args:
        compiled: Whether they go by the compiled kernels: always, never, or where that is faster.
        narrow: Whether bfloat16 weights are used where they are faster.
    """

    compiled: Literal["always", "never", "auto"]
    narrow: bool

    @classmethod
    def of(cls, config: GlowConfig, like: Tensor) -> Choice:
        """Choose for a flow with options `config` whose weights have the device and type of `like`.

        Raises:
            ValueError: If the options ask for compiled passes that cannot run there.
        """
        can_run = like.is_cpu and like.dtype in (torch.float32, torch.float64)
        if config.passes == "compiled" and not can_run:
            kind = str(like.dtype).removeprefix("torch.")
            raise ValueError(
                f"flow 'glow': passes: compiled works for float32 and float64 flows on the CPU, but this flow is "
                f"{kind} on {like.device.type}; set flow.passes=auto"
            )
        narrow = config.fitting_precision == "bfloat16" and like.is_cpu and like.dtype == torch.float32
        compiled = {"compiled": "always", "plain": "never"}.get(config.passes, "auto" if can_run else "never")
        return cls(compiled, narrow and has_matrix_unit())


class Matrix:
    """A constant matrix W and its products with columns, without gradients to W.

    Args:
        weight: (out, in); it is copied, so later changes do not reach it.
        choice: How products may be computed.
    """

    def __init__(self, weight: Tensor, choice: Choice):
        self.weight = weight.detach().clone(memory_format=torch.contiguous_format)
        self.choice = choice

    def forward(self, columns: Tensor) -> Tensor:
        """Compute W x for columns x: (in, B) → (out, B)."""
        if self._narrows(columns):
            return torch.mm(self._narrow, columns.to(torch.bfloat16)).to(columns.dtype)
        return torch.mm(self.weight, columns)

    def back(self, gradient: Tensor) -> Tensor:
        """Compute Wᵀ g, the gradient with respect to x: (out, B) → (in, B)."""
        if self._narrows(gradient):
            return torch.mm(self._narrow_transposed, gradient.to(torch.bfloat16)).to(gradient.dtype)
        return torch.mm(self._transposed, gradient)

    def _narrows(self, columns: Tensor) -> bool:
        return self.choice.narrow and columns.shape[1] * self.weight.numel() >= WORTH_NARROWING

    # Both orders are kept, since BLAS is up to 1.4 times as slow for a transposed view.
    @cached_property
    def _transposed(self) -> Tensor:
        return self.weight.t().contiguous()

    @cached_property
    def _narrow(self) -> Tensor:
        return self.weight.to(torch.bfloat16)

    @cached_property
    def _narrow_transposed(self) -> Tensor:
        return self._narrow.t().contiguous()


class MatrixBehindRelu(Matrix):
    """A constant matrix whose inputs come from a ReLU, so that about half of them are zero."""

    def forward(self, columns: Tensor) -> Tensor:
        if self._compiles(columns):
            return self._sparse.forward(columns)
        return super().forward(columns)

    def back(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        """Compute Wᵀ g where `inputs` (in, B), the outputs of the ReLU, are not zero; elsewhere any finite number."""
        if self._compiles(gradient):
            return self._sparse.back(gradient, inputs)
        return super().back(gradient)

    def _compiles(self, columns: Tensor) -> bool:
        if self.choice.compiled != "auto":
            return self.choice.compiled == "always"
        pays = columns.shape[1] <= FEW and self.weight.numel() >= LARGE and torch.get_num_threads() <= THREADS
        return pays and not self._narrows(columns)

    @cached_property
    def _sparse(self):
        # Imported here: numba takes half a second, and most flows never need it.
        from lipflow_glow.passes.sparse import SparseProduct

        return SparseProduct(self._transposed)
