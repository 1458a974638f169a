"""Judge claims such as "lip-flow > lip-kl by 0.1 psnr on headset"."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import computed_field

from lipflow_core.ablation.claims import Claim
from lipflow_core.ablation.statistics.comparison import Comparison, compare
from lipflow_core.ablation.statistics.scores import Scores
from lipflow_core.differences import LEVEL, Estimate
from lipflow_core.errors import SpecError
from lipflow_core.results import Number, Result
from lipflow_core.spelling import choices

ALPHA = 1 - LEVEL
"""Probability of judging any true claim of a grid wrongly that is accepted."""
POWER = 0.8
"""Probability with which a grid would show its smallest detectable gain."""

Verdict = Literal["holds", "does not hold", "undecided"]
"""Verdict of a grid on a claim."""


class Finding(Result):
    """Holds the verdict of a grid on a claim, with its interval and error."""

    claim: Claim
    """The claim."""
    verdict: Verdict
    """Whether the gain is shown to be above the margin, shown to be below it, or neither."""
    gain: Estimate
    """By how much the system is better than the other; below 0 where it is worse."""
    p: Number
    """p of Student's t for a gain that equals the margin, two-sided; NaN where there is no interval."""
    p_corrected: Number
    """The same, corrected for the number of claims (Holm)."""
    p_sign_flip: Number
    """p of the exact sign-flip test over subjects of the same, not corrected; NaN with fewer than two subjects."""
    detectable: Number
    """Smallest true gain that this grid would have shown with a probability of 80 %, corrected for all claims."""
    claims: int
    """Number of claims that p is corrected for."""
    comparison: Comparison
    """The difference of the two systems, in the metric's own direction."""

    @computed_field
    @property
    def sentence(self) -> str:
        """Say verdict, gain, interval and what the grid could have seen."""
        claim, gain = self.claim, self.gain
        if not math.isfinite(gain.error):
            return f"{claim}: undecided, since there is no interval ({self.comparison.basis})."
        corrected = f" corrected for {self.claims} claims" if self.claims > 1 else ""
        told = (
            f"{claim}: {self.verdict}. The gain is {gain.mean:.3g} (95 % interval {gain.low:.3g} to {gain.high:.3g}) "
            f"over {self.comparison.basis}; p = {self.p_corrected:.2g}{corrected}."
        )
        if self.verdict == "undecided":
            told += f" A true gain of {self.detectable:.3g} would have been shown with a probability of 80 %."
        if self.verdict == "undecided" and self.p <= ALPHA:
            told += " Without the correction for several claims it would be decided."
        return told


def judge(
    scores: Scores,
    claims: Sequence[Claim],
    higher_is_better: Mapping[str, bool | None],
    *,
    systems: Collection[str] | None = None,
    tasks: Collection[str] | None = None,
) -> tuple[Finding, ...]:
    """Judge the claims of a grid.

    Each claim is tested for a gain that equals its margin, two-sided by Student's t over subjects. If the corrected p
    is at most 5 %, the claim *holds* with a gain above the margin and *does not hold* with one below. Otherwise it is
    *undecided*. The intervals are 95 % each and not corrected.

    Args:
        scores: The scores of the grid.
        claims: The claims; all of them count for the correction.
        higher_is_better: Metric → whether a higher value is better.
        systems: Systems of the grid, with those that have no scores yet; those that are scored if None.
        tasks: Tasks of the grid, likewise.

    Raises:
        lipflow_core.errors.SpecError: If a claim's system, task or metric is unknown, or its metric has no better side.
    """
    found = []
    for claim in claims:
        _check_names(claim, "system", (claim.system, claim.other), scores.systems if systems is None else systems)
        _check_names(claim, "task", (claim.task,), scores.tasks if tasks is None else tasks)
        comparison = compare(scores, claim.system, claim.other, claim.task, claim.metric)
        sign = 1 if _direction(claim, higher_is_better) else -1
        overall = comparison.overall
        gain = Estimate(mean=sign * overall.mean, error=overall.error, degrees=overall.degrees)
        found.append((claim, comparison, sign, gain))
    p = np.array([gain.p_value(claim.margin) for claim, _, _, gain in found])
    corrected = holm(np.where(np.isnan(p), 1.0, p))
    return tuple(
        Finding(
            claim=claim,
            verdict=_verdict(gain, claim.margin, float(corrected[i])),
            gain=gain,
            p=float(p[i]),
            p_corrected=float(corrected[i]),
            p_sign_flip=comparison.sign_flip(sign * claim.margin) if len(comparison.subjects) > 1 else math.nan,
            detectable=claim.margin + gain.detectable(POWER, ALPHA / len(claims)),
            claims=len(claims),
            comparison=comparison,
        )
        for i, (claim, comparison, sign, gain) in enumerate(found)
    )


def holm(p: np.ndarray) -> np.ndarray:
    """Correct p-values for their number, so that any false rejection has at most the level's probability.

    The i-th smallest of k, counted from 1, becomes the largest of (k − j + 1) · p_j for j ≤ i, at most 1 (Holm, *A
    simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 6, 1979). It is valid
    whatever the dependence of the tests.

    Args:
        p: (…, k) p-values.
    """
    count = p.shape[-1]
    order = np.argsort(p, axis=-1)
    steps = np.take_along_axis(p, order, -1) * np.arange(count, 0, -1)
    corrected = np.empty(p.shape)
    np.put_along_axis(corrected, order, np.minimum(np.maximum.accumulate(steps, axis=-1), 1), -1)
    return corrected


def _verdict(gain: Estimate, margin: float, corrected: float) -> Verdict:
    if not corrected <= ALPHA:
        return "undecided"
    return "holds" if gain.mean > margin else "does not hold"


def _check_names(claim: Claim, what: str, names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise SpecError(f"claim '{claim}': there is no {what} '{name}'", choices(name, known))


def _direction(claim: Claim, higher_is_better: Mapping[str, bool | None]) -> bool:
    better = higher_is_better.get(claim.metric)
    if better is not None:
        return better
    sided = [metric for metric, side in higher_is_better.items() if side is not None]
    wrong = "has no better side" if claim.metric in higher_is_better else "is not scored"
    raise SpecError(f"claim '{claim}': metric '{claim.metric}' {wrong}", f"Choose one of {', '.join(sided)}.")
