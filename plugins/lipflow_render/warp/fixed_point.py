"""Sums that come out the same to the bit in whatever order threads add to them.

Sums of floating-point numbers depend on their order, sums of whole numbers do not. So each summand is rounded to whole
units, the unit being so small that 63 bits just hold the greatest sum there can be: for a picture of two megapixels
an error per summand of 2⁻³⁹ of the greatest one, less than float32 makes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class WholeNumbers:
    """A sum of atomics: as it comes, or in whole units after `measure`.

    Args:
        gradient: Zeros, of the shape and precision of the sum.
    """

    def __init__(self, gradient: Tensor):
        self._gradient = gradient
        self._units: Tensor | None = None
        self._per_unit: Tensor | None = None

    @staticmethod
    def wanted(device: torch.device) -> bool:
        """Whether order matters on a device and the user asked that it does not. On the CPU kernels run in order."""
        return device.type == "cuda" and torch.are_deterministic_algorithms_enabled()

    def measure(self, greatest: Tensor, count: int) -> None:
        """Choose the unit, without waiting for the device.

        Args:
            greatest: () no summand is greater; if it is not finite, the sum will be NaN.
            count: No element has more summands.
        """
        exponent = torch.frexp(greatest.double()).exponent
        bits = 62 - math.ceil(math.log2(max(count, 1)))
        per_unit = torch.exp2((bits - exponent).double())
        self._per_unit = torch.where(greatest.isfinite(), per_unit, torch.nan).reshape(1)
        self._units = torch.zeros(self._gradient.shape, dtype=torch.int64, device=self._gradient.device)

    @property
    def arrays(self) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """What kernels want: units per 1 (1,), the sum in units, the plain sum."""
        return self._per_unit, self._units, self._gradient

    def total(self) -> Tensor:
        if self._units is None:
            return self._gradient
        return (self._units.double() / self._per_unit).to(self._gradient.dtype)
