"""Sums of what a run logs, kept on the device, so that logging makes no step wait."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite

import torch
from torch import Tensor

from lipflow_core.errors import NumericalError

PATIENCE = 20
"""Steps in a row whose gradient may fail to be finite."""


class Meter:
    """Means and peaks since the last row of the log, and counts of skipped steps.

    Args:
        terms: Names of the objective's terms.
        encoders: Names of the parts that predict a log σ.
        device: Where the numbers are.

    Attributes:
        names: Of what is averaged: loss, terms and gradient norm.
        peak_names: Of what the largest value is kept of: each term in size, and each encoder's log σ.
    """

    def __init__(self, terms: tuple[str, ...], encoders: tuple[str, ...], device: torch.device):
        self.names = ("loss", *terms, "gradient_norm")
        self.peak_names = (*terms, *(f"log_std_{name}" for name in encoders))
        self._peaks = torch.full((len(self.peak_names),), -inf, device=device)
        self._sums = torch.zeros(len(self.names), device=device)
        self._good = torch.zeros((), device=device)
        self._skipped = torch.zeros((), device=device)
        self._streak = torch.zeros((), device=device)
        self._latest = torch.zeros(len(self.names), device=device)

    def add(self, loss: Tensor, terms: Tensor, log_std: Tensor, norm: Tensor) -> Tensor:
        """Count a step.

        Args:
            loss: ().
            terms: (k,).
            log_std: (e,) largest log σ of each encoder.
            norm: () norm of the gradient before clipping.

        Returns:
            () 1 if the step must be skipped because its gradient is not finite, else 0.
        """
        self._latest = torch.cat([loss.detach().view(1), terms, norm.detach().view(1)]).float()
        # The averaged gradient decides, which is the same on every rank, not the rank's own loss.
        good = torch.isfinite(self._latest[-1]).float()
        bad = 1 - good
        self._sums += torch.where(good > 0, self._latest, 0.0)
        reached = torch.cat([terms.abs(), log_std]).float()
        self._peaks = torch.where(good > 0, self._peaks.maximum(reached), self._peaks)
        self._good += good
        self._skipped += bad
        self._streak = (self._streak + 1) * bad
        return bad

    def check(self, step: int) -> None:
        """Raise a NumericalError that names the term if the last steps were all skipped.

        Args:
            step: Steps done in the stage.
        """
        if self._streak < PATIENCE:
            return
        values = dict(zip(self.names, self._latest.tolist(), strict=True))
        guilty = [name for name in self.names[1:-1] if not isfinite(values[name])]
        what = (
            f"the term '{guilty[0]}' is {values[guilty[0]]}" if guilty else "the gradient is not finite, every term is"
        )
        raise NumericalError(
            f"training step {step}: {what}; so it has been for {int(self._streak)} steps in a row",
            "lower the stage's learning_rate or training.clip; --resume goes on from the last checkpoint",
        )

    def row(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float | None]:
        """The means since the last row, and start anew. `reduce`: mean over all ranks."""
        sums, good = reduce(self._sums), reduce(self._good)
        means = [value if isfinite(value) else None for value in (sums / good).tolist()]
        self._sums.zero_()
        self._good.zero_()
        return dict(zip(self.names, means, strict=True))

    def peaks(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float | None]:
        """Largest values since the last call, None if all steps were skipped, and start anew.

        Args:
            reduce: Maximum over all ranks.
        """
        peaks = [value if isfinite(value) else None for value in reduce(self._peaks).tolist()]
        self._peaks.fill_(-inf)
        return dict(zip(self.peak_names, peaks, strict=True))

    @property
    def latest(self) -> dict[str, float]:
        """Loss and terms of the last step; waits for the device."""
        return dict(zip(self.names[:-1], self._latest.tolist(), strict=False))

    @property
    def skipped(self) -> int:
        """Steps skipped in this stage; waits for the device."""
        return int(self._skipped)

    def tensors(self) -> dict[str, Tensor]:
        """Its state for a checkpoint."""
        return {
            "meter/sums": self._sums,
            "meter/peaks": self._peaks,
            "meter/good": self._good,
            "meter/skipped": self._skipped,
            "meter/streak": self._streak,
        }

    def load(self, saved: dict[str, Tensor]) -> None:
        """Take up the state of a checkpoint. `saved`: by name, without the prefix."""
        self._sums.copy_(saved["sums"])
        self._peaks.copy_(saved["peaks"])
        self._good.copy_(saved["good"])
        self._skipped.copy_(saved["skipped"])
        self._streak = saved["streak"].to(self._streak.device)
