"""Accumulates the values that a run logs on the device, so that logging makes no step wait."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite

import torch
from torch import Tensor

from lipflow_core.errors import NumericalError

PATIENCE = 20
"""Number of steps in a row with a gradient that is not finite, after which training stops with an error."""

_SAVED = ("sums", "peaks", "good", "skipped", "streak")


class Meter:
    """Accumulates means and peaks since the last row of the log, and counts skipped steps.

    Args:
        terms: Names of the loss's terms.
        encoders: Names of the parts that predict a log σ.
        device: Device that holds the sums.

    Attributes:
        names: Names of the averaged values: loss, terms and gradient norm.
        peak_names: Names of the values whose maximum is kept: each term's absolute value, and each encoder's log σ.
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
        """Add the values of a step.

        Args:
            loss: () weighted sum of the terms.
            terms: (k,) terms without weights.
            log_std: (e,) largest log σ of each encoder.
            norm: () norm of the gradient before clipping.

        Returns:
            Scalar (), 1 if the step must be skipped because its gradient is not finite, else 0.
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
        """Raise a NumericalError that names the term if the last `PATIENCE` steps were all skipped.

        Args:
            step: Number of steps done in the stage.
        """
        if self._streak < PATIENCE:
            return
        values = dict(zip(self.names, self._latest.tolist(), strict=True))
        guilty = [name for name in self.names[1:-1] if not isfinite(values[name])]
        row = f"for {int(self._streak)} steps in a row the gradient was not finite"
        what = f"the term '{guilty[0]}' is {values[guilty[0]]}; {row}" if guilty else f"{row} although every term was"
        raise NumericalError(
            f"training step {step}: {what}",
            "lower the stage's learning_rate or training.clip; --resume continues from the last checkpoint",
        )

    def row(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float | None]:
        """Return the means since the last row, and reset them. `reduce`: function that averages over all ranks."""
        sums, good = reduce(self._sums), reduce(self._good)
        means = [value if isfinite(value) else None for value in (sums / good).tolist()]
        self._sums.zero_()
        self._good.zero_()
        return dict(zip(self.names, means, strict=True))

    def peaks(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float | None]:
        """Return the largest values since the last call, None if all steps were skipped, and reset them.

        Args:
            reduce: Function that takes the maximum over all ranks.
        """
        peaks = [value if isfinite(value) else None for value in reduce(self._peaks).tolist()]
        self._peaks.fill_(-inf)
        return dict(zip(self.peak_names, peaks, strict=True))

    @property
    def latest(self) -> dict[str, float]:
        """Loss and terms of the last step; reading them waits for the device."""
        return dict(zip(self.names[:-1], self._latest.tolist(), strict=False))

    @property
    def skipped(self) -> int:
        """Number of steps skipped in this stage; reading it waits for the device."""
        return int(self._skipped)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state for a checkpoint."""
        return {f"meter/{name}": getattr(self, f"_{name}") for name in _SAVED}

    def load(self, saved: dict[str, Tensor]) -> None:
        """Load the state of a checkpoint. `saved`: name without the prefix → tensor."""
        for name in _SAVED:
            getattr(self, f"_{name}").copy_(saved[name])
