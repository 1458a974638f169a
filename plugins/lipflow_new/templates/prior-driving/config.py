"""Options of prior `skeleton-name`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import PositiveInt

from lipflow_core.config import Config
from lipflow_core.plans import Mismatch, Plan, PriorInputs


class SkeletonConfig(Config):
    """Options of prior `skeleton-name`."""

    hidden: PositiveInt = 256
    """Width of the hidden layer."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {"hidden": 16}, "small": {"hidden": 64}}

    def plan(self, given: PriorInputs) -> Plan:
        """Needs a driving encoder and takes no flow."""
        if given.flow is not None:
            raise Mismatch(f"prior 'skeleton-name' takes no flow, but the spec names '{given.flow.name}'")
        driving = given.driving_shapes("skeleton-name")
        return Plan(
            inputs={"code": (given.code,), **driving}, outputs={"log_prob": ()}, needs=("driving",), base_space=True
        )
