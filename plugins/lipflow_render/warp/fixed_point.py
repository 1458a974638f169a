"""Sums that have the same bits in whatever order threads add to them.

The sum of floating-point numbers depends on their order, the sum of integers does not. So each summand is rounded to a
whole number of units, the unit being so small that 63 bits just hold the greatest possible sum. For a picture of two
megapixels the error per summand is 2⁻³⁹ of the greatest summand, less than float32 makes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class FixedPointSum:
    """A sum that atomic operations add to: in floating point at first, in fixed point after `measure`.

    Args:
        gradient: Zeros, of the shape and precision of the sum.
    """

    def __init__(self, gradient: Tensor):
        self._gradient = gradient
        self._units: Tensor | None = None
        self._per_unit: Tensor | None = None

    @staticmethod
    def wanted(device: torch.device) -> bool:
        """Whether the order varies on a device and torch was told to be deterministic. CPU kernels run in order."""
        return device.type == "cuda" and torch.are_deterministic_algorithms_enabled()

    def measure(self, greatest: Tensor, count: int) -> None:
        """Choose the unit, without waiting for the device.

        Args:
            greatest: Scalar that no summand exceeds; if it is not finite, the sum will be NaN.
            count: Most summands that one element has.
        """
        exponent = torch.frexp(greatest.double()).exponent
        bits = 62 - math.ceil(math.log2(max(count, 1)))
        per_unit = torch.exp2((bits - exponent).double())
        self._per_unit = torch.where(greatest.isfinite(), per_unit, torch.nan).reshape(1)
        self._units = torch.zeros(self._gradient.shape, dtype=torch.int64, device=self._gradient.device)

    @property
    def arrays(self) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """What kernels take: units per 1 (1,), the sum in units, and the sum in floating point."""
        return self._per_unit, self._units, self._gradient

    def total(self) -> Tensor:
        """The sum in floating point."""
        if self._units is None:
            return self._gradient
        return (self._units.double() / self._per_unit).to(self._gradient.dtype)
