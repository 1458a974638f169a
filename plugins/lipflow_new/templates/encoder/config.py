"""Options of encoder `skeleton-name`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import PositiveInt

from lipflow_core.config import Config
from lipflow_core.plans import EncoderInputs, Mismatch, Plan


class SkeletonConfig(Config):
    """Options of encoder `skeleton-name`."""

    hidden: PositiveInt = 256
    """Width of the hidden layer."""
    features: PositiveInt = 128
    """Width of the features h, which flows are conditioned on."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"hidden": 16, "features": 12},
        "small": {"hidden": 64, "features": 32},
    }

    def plan(self, given: EncoderInputs) -> Plan:
        """Needs observation "keypoints"; makes "mean", "log_std" and "features"."""
        points = given.observations.get("keypoints", {}).get("points")
        if points is None:
            offered = ", ".join(given.observations) or "nothing"
            raise Mismatch(f"encoder 'skeleton-name' encodes 'keypoints', but the capture offers {offered}")
        return Plan(
            inputs={"keypoints.points": points},
            outputs={"mean": (given.code,), "log_std": (given.code,), "features": (self.features,)},
            needs=("keypoints",),
        )
