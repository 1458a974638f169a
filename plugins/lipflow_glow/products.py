"""Products with constant matrices, by the fastest kernel at hand."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Precision = Literal["full", "bfloat16"]

FEW_ROWS = 2
"""Up to this many rows the loops of `lipflow_glow.kernels`, on one thread, beat packed oneDNN …"""
FEW_THREADS = 2
"""… as long as it has no more threads than this."""


@cache
def _packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN takes packed weights of this type here; its operators are not torch's public interface."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        weight = torch.zeros(2, 3, dtype=dtype)
        packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        torch.ops.mkldnn._linear_pointwise(weight, packed, None, "none", [], "")
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return True


class TwoWay:
    """A constant matrix W (out, in) and its two products, without gradients to W.

    For float32 on the CPU: with few rows and threads numba's loops, else oneDNN with weights packed on first use,
    which at 16 rows halves the time of a product. Where neither is to be had, and for other types and devices, an
    ordinary linear map. W is copied: later changes do not reach it.

    Args:
        weight: (out, in).
        precision: "bfloat16" keeps a float32 weight in bfloat16 where the device can: half the memory traffic, three
            digits.
    """

    def __init__(self, weight: Tensor, precision: Precision = "full"):
        self.outputs, self.inputs = weight.shape
        full = weight.detach()
        narrow = precision == "bfloat16" and full.dtype == torch.float32 and (full.is_cuda or _packs(torch.bfloat16))
        self.weight = full.to(torch.bfloat16) if narrow else full.clone(memory_format=torch.contiguous_format)
        on_cpu = self.weight.device.type == "cpu" and self.weight.dtype in (torch.float32, torch.bfloat16)
        self._packable = on_cpu and self.weight.numel() > 0 and _packs(self.weight.dtype)
        self._packed: dict[bool, Tensor] = {}
        self._loops = on_cpu and self.weight.numel() > 0

    def forward(self, inputs: Tensor) -> Tensor:
        """x Wᵀ: (B, in) → (B, out), in the inputs' type."""
        return self._apply(inputs, False)

    def back(self, gradient: Tensor) -> Tensor:
        """g W, what a gradient takes: (B, out) → (B, in)."""
        return self._apply(gradient, True)

    def _apply(self, inputs: Tensor, back: bool) -> Tensor:
        rows = inputs.shape[0]
        if self._loops and 0 < rows <= FEW_ROWS and torch.get_num_threads() <= FEW_THREADS:
            return self._loop(inputs, back)
        if self._packable and rows > 0:
            if back not in self._packed:
                weight = self.weight.t().contiguous() if back else self.weight
                self._packed[back] = torch.ops.mkldnn._reorder_linear_weight(weight)
            narrow = inputs.to(self.weight.dtype).contiguous()
            result = torch.ops.mkldnn._linear_pointwise(narrow, self._packed[back], None, "none", [], "")
        else:
            result = F.linear(inputs.to(self.weight.dtype), self.weight.t() if back else self.weight)
        return result.to(inputs.dtype)

    def _loop(self, inputs: Tensor, back: bool) -> Tensor:
        # Imported here: numba takes half a second, and larger batches never need it.
        from lipflow_glow import kernels

        outputs = inputs.new_empty(inputs.shape[0], self.inputs if back else self.outputs)
        if self.weight.dtype == torch.bfloat16:
            weight = self.weight.view(torch.int16).numpy().view(np.uint16)
            kernel = kernels.narrow_times if back else kernels.narrow_times_transposed
        else:
            weight = self.weight.numpy()
            kernel = kernels.times if back else kernels.times_transposed
        kernel(weight, inputs.detach().contiguous().numpy(), outputs.numpy())
        return outputs
