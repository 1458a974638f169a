"""Split the variance of a difference into subjects, seeds, sequences and frames, and say what would help most."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from pydantic import computed_field

from lipflow_core.ablation.statistics.scores import LEVELS, Pairs
from lipflow_core.results import Number, Result

_WIDER = {"subject": (), "seed": ("subject",), "sequence": ("subject",), "frame": ("sequence", "subject")}
"""Level → the levels that count its variance where it has one member each, the narrowest first."""


class Components(Result):
    """Variance of paired differences by level, and what each level adds to the squared error of their mean.

    A difference of subject s, seed r, sequence q and frame f is taken as μ + a_s + b_sr + c_sq + e_sqf, whose terms are
    independent with variances σ²_subject, σ²_seed, σ²_sequence and σ²_frame. They are estimated by the method of
    moments from unweighted means (Searle, Casella and McCulloch, *Variance Components*, 1992, chapter 5). With S
    subjects, R_s seeds and Q_s sequences of n_sq frames, and seeds averaged:

        σ²_frame     pooled variance of frames within sequences
        σ²_sequence  pooled variance of sequence means within subjects − σ²_frame · mean(1 / n_sq)
        σ²_seed      pooled variance of the runs' means within subjects
        σ²_subject   variance of subject means − mean over subjects of what the other three add to a subject's mean

    Seeds of a subject share its sequences and frames, so these drop out of σ²_seed. What is negative is set to 0. A
    level of one member is unknown (NaN) and is counted in the next wider level. Few members give rough estimates.
    """

    variance: dict[str, Number]
    """Level → its variance, in the metric's unit squared; NaN where the grid can't tell it."""
    added: dict[str, Number]
    """Level → what it adds to the squared error of the mean difference; NaN where the grid can't tell it."""

    @classmethod
    def of(cls, pairs: Pairs) -> Self:
        """Estimate them from finite paired differences."""
        if not len(pairs):
            unknown = dict.fromkeys(LEVELS, math.nan)
            return cls(variance=unknown, added=unknown)
        runs = pairs.mean_over("frame").mean_over("sequence")
        frames = pairs.mean_over("seed")
        sequences = frames.mean_over("frame")
        subjects = sequences.mean_over("sequence")
        total, _ = subjects.variance_over("subject")
        seed, seeds = runs.variance_over("seed")
        between, counts = sequences.variance_over("sequence")
        frame, lengths = frames.variance_over("frame")
        # What one unit of a level's variance adds to the squared error of one subject's mean, averaged over subjects.
        of_subject = np.unique(sequences.levels["subject"], return_inverse=True)[1]
        per_seed, per_sequence = np.mean(1 / seeds), np.mean(1 / counts)
        per_frame = np.mean(np.bincount(of_subject, 1 / lengths) / counts**2)
        sequence = _beyond(between, frame * float(np.mean(1 / lengths)))
        added = {"seed": seed * per_seed, "sequence": sequence * per_sequence, "frame": frame * per_frame}
        subject = _beyond(total, *added.values())
        variance = {"subject": subject, "seed": seed, "sequence": sequence, "frame": frame}
        added = {"subject": subject, **added}
        return cls(variance=variance, added={level: added[level] / len(subjects) for level in LEVELS})

    @computed_field
    @property
    def shares(self) -> dict[str, Number]:
        """Level → its share of the squared error; NaN where the grid can't tell it."""
        total = sum(map(_known, self.added.values()))
        return {level: added / total if total > 0 else math.nan for level, added in self.added.items()}

    @computed_field
    @property
    def advice(self) -> str:
        """Say of which level more would help most, and which levels can't be told apart."""
        known = {level: share for level, share in self.shares.items() if math.isfinite(share)}
        if max(map(_known, self.added.values())) == 0 and any(map(math.isfinite, self.added.values())):
            return "The difference does not vary, so that nothing would make it surer."
        if not known.keys() & {"subject", "sequence"}:
            return (
                "What would make the difference surer can't be told: two subjects or two sequences are needed for that."
            )
        most = max(known, key=known.__getitem__)
        shares = ", ".join(f"{level}s {100 * share:.0f} %" for level, share in known.items())
        told = [f"More {most}s would help most. Estimated shares of the squared error: {shares}."]
        for level in [level for level in LEVELS if level not in known]:
            wider = next((name for name in _WIDER[level] if name in known), None)
            told.append(
                f"With one {level} each, the share of {wider}s includes that of {level}s."
                if wider
                else f"The share of {level}s is unknown, since there is one."
            )
        return " ".join(told)


def _known(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _beyond(measured: float, *explained: float) -> float:
    """Give the part of a variance that others do not explain; NaN where it was not measured."""
    return max(0.0, measured - sum(map(_known, explained))) if math.isfinite(measured) else math.nan
