"""Signs that training runs away while every number is finite: log σ out of bounds, terms that jump."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lipflow_core.densities import FREE_LOG_STD

JUMP = 100.0
"""A term has jumped if a step brings this many times what it was on average between the two rows of the log before."""

LEAST = 0.1
"""A term that was smaller is taken to have been as large: L_L passes through 0."""

ADVICE = "training may be running away; lower the stage's learning_rate or the term's weight (docs/training.md)"


@dataclass(frozen=True)
class Sign:
    """One sign, as told and logged.

    Args:
        name: What it is about: a term, or "log_std_encoder" or "log_std_driving".
        value: What it reached in one step.
        usual: What was to be expected at most.
        text: In words.
    """

    name: str
    value: float
    usual: float
    text: str


def signs(peaks: Mapping[str, float | None], usual: Mapping[str, float]) -> Iterator[Sign]:
    """What runs away.

    Args:
        peaks: Largest value since the last row, of each term in size and, as "log_std_PART", of the log σ that a part
            predicts; None where there was none.
        usual: Absolute value of each term in the row before; without those that are not known yet.
    """
    for name, value in peaks.items():
        if value is None:
            continue
        part = name.removeprefix("log_std_")
        if part != name:
            if value > FREE_LOG_STD:
                encoder = "the driving encoder" if part == "driving" else "the encoder"
                size = "±" if part == "driving" else ""
                text = f"{encoder} predicts log σ of {size}{value:.3g}, of which priors take ±{FREE_LOG_STD:g} as it is"
                yield Sign(name, value, FREE_LOG_STD, f"{text}: {ADVICE}")
        elif name in usual and value > (most := JUMP * max(usual[name], LEAST)):
            text = f"the term '{name}' reached {value:.3g} in one step, from {usual[name]:.3g} on average before"
            yield Sign(name, value, most, f"{text}: {ADVICE}")
