"""Estimate a difference between two models and how sure it is: paired by frame, clustered by sequence.

Frames of a sequence resemble each other, so that a sequence tells about as much as one independent measurement, however
many frames it has. Every error here is therefore over values that are independent of each other: the means of the
sequences, or those of subjects. With values v_1 … v_n:

    mean = Σ v_i / n        error = sqrt(Σ (v_i − mean)² / (n (n − 1)))        (mean − μ) / error ~ t with n − 1 degrees

**Why sequences count alike, whatever their length.** The usual cluster-robust error of the mean over all frames (CR1:
G / (G − 1) as correction, t with G − 1 degrees) needs many sequences of similar length. With 4 sequences of 5, 10, 20
and 80 frames it rejects a true null in 20 % of the cases instead of 5 %. CR2 with Satterthwaite degrees (Bell and
McCaffrey 2002) is exact only for an assumed correlation of the frames. Student's t over the means of sequences stays at
5 % or below, whatever their lengths and the correlation of their frames. At levels up to 8 % it is valid for normal
means of any unequal variances (Ibragimov and Müller, *t-statistic based correlation and heterogeneity robust
inference*, Journal of Business & Economic Statistics 28(4), 2010, after Bakirov and Székely 2005). The price is that
the difference is the mean over sequences and not over frames. The two agree where sequences have equally many frames.
`tests/ablation/statistics/test_false_positives.py` compares both with the error over single frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from pydantic import computed_field

from lipflow_core.results import Number, Result
from lipflow_core.tables import counted

LEVEL = 0.95
"""Level of the intervals that are shown and by which two models are told apart."""


def sequence_means(values: np.ndarray, sequences: Sequence[str] | np.ndarray) -> np.ndarray:
    """Average frames within their sequences.

    Args:
        values: (…, N) a finite value per frame.
        sequences: (N,) name of each frame's sequence.

    Returns:
        (…, G) the means of the G sequences, in the order of their sorted names.
    """
    names, which = np.unique(np.asarray(sequences), return_inverse=True)
    weights = np.zeros((len(which), len(names)))
    weights[np.arange(len(which)), which] = 1
    return values @ (weights / np.maximum(weights.sum(axis=0), 1))


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average independent values (…, n) and give the standard error of the mean: two arrays (…).

    The mean of no value, and the error of fewer than two, are NaN.
    """
    count = values.shape[-1]
    unknown = np.full(values.shape[:-1], math.nan)
    mean = values.mean(axis=-1) if count else unknown
    return mean, values.std(axis=-1, ddof=1) / math.sqrt(count) if count > 1 else unknown


def p_value(mean: Any, error: Any, degrees: int, null: float = 0.0) -> np.ndarray:
    """Test by Student's t whether the true mean is `null`, two-sided; NaN where the error is unknown.

    Args:
        mean: (…) estimates.
        error: (…) their standard errors. An error of 0 rejects every other value than the estimate itself.
        degrees: Degrees of freedom of the errors.
        null: Value to test.
    """
    from scipy.special import stdtr

    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(np.equal(mean, null) & np.equal(error, 0), 0.0, np.abs(np.subtract(mean, null)) / error)
    return np.where(np.isnan(t), math.nan, 2 * stdtr(max(degrees, 1), -t))


class Estimate(Result):
    """A mean over independent values, with its standard error.

    Example:
        >>> estimate = Estimate.over([1.0, 2.0, 3.0])
        >>> print(estimate, round(estimate.p_value(), 3))
        +2.00 ± 2.48 0.074
    """

    mean: Number
    """The mean; NaN without any value."""
    error: Number
    """Standard error of the mean; NaN with fewer than two values."""
    degrees: int
    """Degrees of freedom of the error: the number of values less 1."""

    @classmethod
    def over(cls, values: Sequence[float] | np.ndarray, **more: Any) -> Self:
        """Estimate the mean of independent values (n,); `more` are fields of a subclass."""
        mean, error = mean_and_error(np.asarray(values, dtype=float))
        return cls(mean=float(mean), error=float(error), degrees=max(len(values) - 1, 0), **more)

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval; NaN where the error is unknown."""
        return self.error * critical(self.degrees, 1 - LEVEL)

    @computed_field
    @property
    def low(self) -> Number:
        """Lower end of the 95 % interval."""
        return self.mean - self.half_width

    @computed_field
    @property
    def high(self) -> Number:
        """Upper end of the 95 % interval."""
        return self.mean + self.half_width

    @property
    def told_apart(self) -> bool:
        """Whether the 95 % interval leaves 0 out; False where there is no interval."""
        return abs(self.mean) > self.half_width

    def p_value(self, null: float = 0.0) -> float:
        """Test by Student's t whether the true mean is `null`, two-sided; NaN where the error is unknown."""
        return float(p_value(self.mean, self.error, self.degrees, null))

    def detectable(self, power: float = 0.8, alpha: float = 1 - LEVEL) -> float:
        """Give the smallest distance of the true mean from a null that a test at level `alpha` finds with this power.

        It is error · δ, where P(T > t_{1 − alpha/2}) = power for T of the noncentral t distribution with shift δ. NaN
        where the error is unknown.
        """
        from scipy.special import nctdtrinc

        if not self.degrees:
            return math.nan
        return self.error * float(nctdtrinc(self.degrees, 1 - power, critical(self.degrees, alpha)))

    def text(self, digits: int) -> str:
        """Print mean and half the 95 % interval as "+0.36 ± 0.11"; a dash where there is no interval."""
        return f"{self.mean:+.{digits}f} ± {self.half_width:.{digits}f}" if math.isfinite(self.error) else "–"

    def __str__(self) -> str:
        return self.text(2)


class Difference(Estimate):
    """One model's scores less another's: the mean over sequences, and its error over sequences.

    It speaks of further sequences of the same subject for the same trained models. It says nothing of other subjects
    and other seeds.
    """

    frames: int
    """Number of frames that it is paired over."""
    left_out: int
    """Number of frames that were left out because one of the two scores is not finite."""
    sequences: int
    """Number of sequences that the frames are of."""

    @classmethod
    def of(
        cls, one: Iterable[float], other: Iterable[float], sequences: Sequence[str] | np.ndarray, **more: Any
    ) -> Self:
        """Take the difference of both models' scores of the same frames.

        Args:
            one: N scores.
            other: N scores of the same frames.
            sequences: (N,) name of each frame's sequence.
            more: Fields of a subclass.

        Example:
            >>> scores, others = [31.0, 31.2, 33.0, 35.0], [30.0, 30.2, 31.0, 32.0]
            >>> print(Difference.of(scores, others, ["smile", "smile", "blink", "speech"]))
            +2.00 ± 2.48
        """
        with np.errstate(invalid="ignore"):  # infinity less infinity
            pairs = np.subtract(np.fromiter(one, float), np.fromiter(other, float))
        return cls.between(pairs, sequences, **more)

    @classmethod
    def between(cls, pairs: np.ndarray, sequences: Sequence[str] | np.ndarray, **more: Any) -> Self:
        """Take the difference from those of single frames (N,), as `of` does; what is not finite is left out."""
        sound = np.isfinite(pairs)
        means = sequence_means(pairs[sound], np.asarray(sequences)[sound])
        left_out = int((~sound).sum())
        return cls.over(means, frames=int(sound.sum()), left_out=left_out, sequences=len(means), **more)

    @property
    def caution(self) -> str | None:
        """Say what the number of sequences forbids to conclude, if anything."""
        if self.sequences < 2:
            return (
                f"both models have scores of {counted(self.sequences, 'sequence')} only; frames of one sequence "
                "resemble each other and give no error, so score frames of more sequences"
            )
        if self.sequences < FEW:
            reach = critical(self.degrees, 1 - LEVEL)
            return (
                f"with {self.sequences} sequences the interval reaches {reach:.1f} standard errors to each side; score "
                "frames of more sequences, since more frames of the same ones hardly help"
            )
        return None


FEW = 5
"""Number of sequences below which intervals are so wide that a sentence says so."""


def critical(degrees: int, alpha: float) -> float:
    """Give the standard errors that Student's t stays within with probability 1 − alpha; NaN without degrees."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1 - alpha / 2)) if degrees > 0 else math.nan
