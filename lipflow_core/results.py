"""Defines the base of all results: pydantic models whose JSON has null for NaN and infinity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, model_validator

from lipflow_core.errors import ResultError
from lipflow_core.storage import read_file


def _number(value: object) -> object:
    return math.nan if value is None else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


Number = Annotated[float, BeforeValidator(_number), PlainSerializer(_finite, when_used="json")]
"""Float that is written to JSON as null if it is not finite; null is read as NaN."""


class Result(BaseModel):
    """Base of results. `model_dump(mode="json")` is their JSON, `model_validate` reads it.

    Computed fields stand in the JSON beside the others, and are computed anew when it is read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_computed(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and cls.model_computed_fields:
            return {name: value for name, value in data.items() if name not in cls.model_computed_fields}
        return data

    def json_text(self) -> str:
        """Write the result as JSON with a line break at its end."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def read(cls, path: Path, hint: str) -> Self:
        """Read a result from a JSON file, which may be damaged.

        Args:
            path: File to read.
            hint: Advice for the user if the file can't be used.

        Raises:
            lipflow_core.errors.ResultError: If the file can't be read or holds no such result; the message names the
                field and the reason.
        """
        try:
            return cls.model_validate_json(read_file(path))
        except OSError as error:
            raise ResultError(f"{path}: can't be read: {error.strerror or error}", hint) from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ResultError(f"{path}: is damaged: {where + ': ' if where else ''}{first['msg']}", hint) from error


def finite_mean(values: Sequence[float]) -> float:
    """Average the finite values; NaN if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
