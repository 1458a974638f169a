"""Options of prior `skeleton-name`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import PositiveFloat

from lipflow_core.config import Config
from lipflow_core.plans import Mismatch, Plan, PriorInputs


class SkeletonConfig(Config):
    """Options of prior `skeleton-name`."""

    start_std: PositiveFloat = 1.0
    """Standard deviation of every dimension before training."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def plan(self, given: PriorInputs) -> Plan:
        """Needs no driving encoder and takes no flow."""
        if given.flow is not None:
            raise Mismatch(f"prior 'skeleton-name' takes no flow, but the spec names '{given.flow.name}'")
        return Plan(inputs={"code": (given.code,)}, outputs={"log_prob": ()})
