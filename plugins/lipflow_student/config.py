"""Options of prior `flow-student`. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar

from lipflow_kit.flow_priors import SeenThroughFlowConfig
from pydantic import Field


class StudentFlowConfig(SeenThroughFlowConfig):
    """Options of prior `flow-student`."""

    component: ClassVar[str] = "flow-student"

    freedom: Annotated[int, Field(ge=3)] = 20
    """Degrees of freedom ν of the Student-t. A smaller number gives heavier tails."""
