"""Products with constant matrices, by the fastest of torch's kernels."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F


class TwoWay:
    """A constant matrix W (out, in) and its two products, without gradients to W.

    On the CPU by oneDNN with weights packed on first use, where it is to be had; else an ordinary linear map. W is
    copied: later changes do not reach it.

    Args:
        weight: (out, in).
        narrow: Keep it in bfloat16, where the device can: half of the memory traffic, three digits.
    """

    def __init__(self, weight: Tensor, narrow: bool = False):
        full = weight.detach()
        narrow = narrow and (full.is_cuda or _packs(torch.bfloat16))
        self.weight = full.to(torch.bfloat16) if narrow else full.clone(memory_format=torch.contiguous_format)
        self._packable = full.is_cpu and full.numel() > 0 and _packs(self.weight.dtype)
        self._packed: dict[bool, Tensor] = {}

    def forward(self, inputs: Tensor) -> Tensor:
        """x Wᵀ: (B, in) → (B, out), in the inputs' type."""
        return self._apply(inputs, False)

    def back(self, gradient: Tensor) -> Tensor:
        """g W, what a gradient takes: (B, out) → (B, in)."""
        return self._apply(gradient, True)

    def _apply(self, inputs: Tensor, back: bool) -> Tensor:
        weight = self.weight.t() if back else self.weight
        taken = inputs.to(weight.dtype)
        if not self._packable or len(inputs) == 0:
            return F.linear(taken, weight).to(inputs.dtype)
        if back not in self._packed:
            self._packed[back] = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
        made = torch.ops.mkldnn._linear_pointwise(taken.contiguous(), self._packed[back], None, "none", [], "")
        return made.to(inputs.dtype)


@cache
def _packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN takes packed weights of this type here; its operators are not torch's public interface."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
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
