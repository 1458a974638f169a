"""Claims of a grid, such as "lip-flow > lip-kl by 0.1 psnr on headset". Imports neither numpy nor torch."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import Field, model_validator

from lipflow_core.results import Result

_GRAMMAR = re.compile(
    r"(?P<system>\S+)\s+>\s+(?P<other>\S+)\s+by\s+(?P<margin>\S+)\s+(?P<metric>\S+)\s+on\s+(?P<task>\S+)"
)


class Claim(Result):
    """A claim that one system is better than another by more than a margin.

    It is written as `SYSTEM > OTHER by MARGIN METRIC on TASK`. ">" means "better than": higher where a higher value of
    the metric is better, and lower where a lower one is. MARGIN is the smallest gain that counts, in the metric's unit.
    Below 0 it claims "worse by less than that": `a > b by -0.1 psnr on decode` says that a loses less than 0.1 dB.
    Both `a > b by -0.1 …` and `b > a by -0.1 …` together claim that the systems are equal up to 0.1.

    Example:
        >>> claim = Claim.model_validate("lip-flow > lip-kl by 0.1 psnr on headset")
        >>> claim.other, claim.margin
        ('lip-kl', 0.1)
    """

    system: str
    """System that is claimed to be better."""
    other: str
    """System that is claimed to be worse."""
    margin: float = Field(allow_inf_nan=False)
    """Smallest gain that counts, in the metric's unit."""
    metric: str
    """Metric by which the systems are compared."""
    task: str
    """Task on which they are compared."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        found = _GRAMMAR.fullmatch(data.strip())
        if found is None:
            raise ValueError(f"'{data}' is not a claim such as 'a > b by 0.1 METRIC on TASK'")
        return found.groupdict()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.system == self.other:
            raise ValueError(f"the claim compares '{self.system}' with itself")
        return self

    def __str__(self) -> str:
        return f"{self.system} > {self.other} by {self.margin:g} {self.metric} on {self.task}"
