"""Products with constant matrices, by the fastest kernel at hand."""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Precision = Literal["full", "bfloat16"]


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


class Product:
    """x ↦ x Wᵀ for a constant W (out, in), without gradients to W.

    float32 weights on the CPU are packed once for oneDNN, which at 16 rows halves the time of a product; where that is
    not to be had, and for other types and devices, it is an ordinary linear map.

    Args:
        weight: (out, in).
        precision: "bfloat16" keeps a float32 weight in bfloat16: half the memory traffic, three digits.
    """

    def __init__(self, weight: Tensor, precision: Precision = "full"):
        weight = weight.detach()
        self.dtype = weight.dtype
        if precision == "bfloat16" and weight.dtype == torch.float32 and (weight.is_cuda or _packs(torch.bfloat16)):
            self.dtype = torch.bfloat16
        weight = weight.to(self.dtype).contiguous()
        packable = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)
        self.packed = packable and _packs(weight.dtype) and weight.numel() > 0
        self.outputs = weight.shape[0]
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.packed else weight

    def __call__(self, inputs: Tensor) -> Tensor:
        """(B, in) → (B, out), in the inputs' type."""
        if self.packed and inputs.shape[0] > 0:
            narrow = inputs.to(self.dtype).contiguous()
            return torch.ops.mkldnn._linear_pointwise(narrow, self.weight, None, "none", [], "").to(inputs.dtype)
        if self.packed:
            return inputs.new_zeros(0, self.outputs)
        return F.linear(inputs.to(self.dtype), self.weight).to(inputs.dtype)


class TwoWay:
    """A product and its transpose: `forward` is x ↦ x Wᵀ, `back` is g ↦ g W, what a gradient takes."""

    def __init__(self, weight: Tensor, precision: Precision = "full"):
        self.forward = Product(weight, precision)
        self.back = Product(weight.t(), precision)
