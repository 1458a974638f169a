"""How sure is a difference between two models? Paired over the frames that both were scored on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

BEYOND = 2.0
"""Standard errors that a difference must exceed for two models to be told apart."""


@dataclass(frozen=True)
class Difference:
    """One model's scores less another's.

    The error is over frames: of one subject and one training run it says nothing of others.

    Args:
        mean: Over the frames; NaN without any.
        error: Its standard error; NaN with fewer than two frames.
    """

    mean: float
    error: float

    @classmethod
    def of(cls, one: Iterable[float], other: Iterable[float]) -> Self:
        """Take it from both models' scores of the same frames; frames where either is not finite are left out.

        Example:
            >>> print(Difference.of([31.0, 33.0, 35.0], [30.0, 31.0, 32.0]))
            +2.00 ± 0.58
        """
        pairs = [a - b for a, b in zip(one, other, strict=True) if math.isfinite(a - b)]
        error = statistics.stdev(pairs) / math.sqrt(len(pairs)) if len(pairs) > 1 else math.nan
        return cls(statistics.fmean(pairs) if pairs else math.nan, error)

    @property
    def told_apart(self) -> bool:
        """Whether the difference is beyond what frames vary by; not where that is unknown."""
        return abs(self.mean) > BEYOND * self.error

    def text(self, digits: int) -> str:
        """Print it as "+0.36 ± 0.11"; a dash where it is unknown."""
        return f"{self.mean:+.{digits}f} ± {self.error:.{digits}f}" if math.isfinite(self.error) else "–"

    def __str__(self) -> str:
        return self.text(2)
