"""Options of coupling `skeleton-name`. Imports no torch."""

from __future__ import annotations

from pydantic import PositiveFloat

from lipflow_core.config import Config
from lipflow_core.plans import CouplingInputs, Mismatch, Plan


class SkeletonConfig(Config):
    """Options of coupling `skeleton-name`."""

    bound: PositiveFloat = 1.0
    """Scales lie between exp(−bound) and exp(bound)."""

    def plan(self, given: CouplingInputs) -> Plan:
        """Maps codes to codes, invertibly."""
        if given.features < 2:
            raise Mismatch(f"coupling 'skeleton-name' needs two features or more, but the code has {given.features}")
        context = {"context": (given.context,)} if given.context else {}
        return Plan(inputs={"code": (given.features,), **context}, outputs={"code": (given.features,)}, invertible=True)
