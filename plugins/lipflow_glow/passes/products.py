"""Multiplies columns by constant matrices, in the fastest known way for the batch and the machine."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lipflow_glow.config import GlowConfig

FEW = 4
"""Largest batch that takes the compiled kernels: for it they make a fit at least 1.2 times as fast."""
LARGE = 1 << 20
"""Smallest number of weights of a matrix that takes the compiled kernels; smaller matrices fit the nearest caches."""
THREADS = 2
"""Largest number of torch's threads at which the compiled kernels are taken: they use one thread, `torch.mm` all."""
WORTH_NARROWING = 1 << 22
"""Smallest number of multiplications at which bfloat16 saves more time than its conversions cost."""


def has_matrix_unit() -> bool:
    """Tell whether oneDNN multiplies bfloat16 matrices by Intel AMX on this machine; otherwise float32 is faster."""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "AMX").upper()
    return torch.cpu._is_amx_tile_supported() and ("AMX" in allowed or allowed in ("ALL", "DEFAULT"))


class Choice(NamedTuple):
    """Chooses how a flow multiplies by its constant matrices.

    Args:
        compiled: Whether products use the compiled kernels: "always", "never", or "auto", where they are faster.
        narrow: Whether products use bfloat16 weights where these are faster.
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
    """Multiplies columns by a constant matrix W and by its transpose, without gradients to W.

    Args:
        weight: (out, in); it is copied, so later changes of the tensor have no effect.
        choice: Choice of kernels and precision.
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
    """Multiplies by a constant matrix whose inputs come from a ReLU, so that about half of them are zero."""

    def forward(self, columns: Tensor) -> Tensor:
        if self._compiles(columns):
            return self._sparse.forward(columns)
        return super().forward(columns)

    def back(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        """Compute Wᵀ g where `inputs` (in, B), the outputs of the ReLU, are not zero; other entries are arbitrary."""
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
