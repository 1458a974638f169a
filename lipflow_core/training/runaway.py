"""Detects training that diverges while every number is finite: log σ out of bounds, terms that jump."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lipflow_core.densities import FREE_LOG_STD

JUMP = 100.0
"""A term jumps if it reaches this many times its average in the row of the log before."""

LEAST = 0.1
"""Averages below this count as this value, since the divergence L_L passes through 0."""

ADVICE = "training may be diverging; lower the stage's learning_rate or the term's weight (docs/training.md)"


@dataclass(frozen=True)
class Sign:
    """A sign that training diverges.

    Args:
        name: Name of a term, or "log_std_encoder" or "log_std_driving".
        value: Largest value that it reached in one step.
        usual: Largest value that is expected.
        text: Sentence for the user.
    """

    name: str
    value: float
    usual: float
    text: str


def signs(peaks: Mapping[str, float | None], usual: Mapping[str, float]) -> Iterator[Sign]:
    """Yield each sign that training diverges.

    Args:
        peaks: Name → largest value since the last row; absolute values of terms, and log σ of encoders as
            "log_std_PART". None if all steps were skipped.
        usual: Term's name → absolute value in the row before, for the terms that have one.
    """
    for name, value in peaks.items():
        if value is None:
            continue
        part = name.removeprefix("log_std_")
        if part != name:
            if value > FREE_LOG_STD:
                encoder = "the driving encoder" if part == "driving" else "the encoder"
                size = "±" if part == "driving" else ""
                text = (
                    f"{encoder} predicts log σ = {size}{value:.3g}; priors use values within ±{FREE_LOG_STD:g} "
                    "unchanged and squash the rest"
                )
                yield Sign(name, value, FREE_LOG_STD, f"{text}: {ADVICE}")
        elif name in usual and value > (most := JUMP * max(usual[name], LEAST)):
            text = f"the term '{name}' reached {value:.3g} in one step; its average before was {usual[name]:.3g}"
            yield Sign(name, value, most, f"{text}: {ADVICE}")
