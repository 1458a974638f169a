"""The base of what runs give back and write: pydantic models whose JSON has null for NaN and infinity."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer


def _number(value: object) -> object:
    return math.nan if value is None else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


Number = Annotated[float, BeforeValidator(_number), PlainSerializer(_finite, when_used="json")]
"""A float that JSON writes as null where it is not finite; null is read as NaN."""


class Result(BaseModel):
    """Base of results. `model_dump(mode="json")` is their JSON, `model_validate` reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def json_text(self) -> str:
        """Write the result as JSON with a line break at its end."""
        return self.model_dump_json(indent=1) + "\n"


def finite_mean(values: list[float] | tuple[float, ...]) -> float:
    """Average what is finite; NaN if nothing is."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
