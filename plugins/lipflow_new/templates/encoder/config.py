"""Options of encoder `skeleton-name`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import NonNegativeFloat, PositiveInt

from lipflow_core.config import Config
from lipflow_core.plans import EncoderInputs, Mismatch, Plan


class SkeletonConfig(Config):
    """Options of encoder `skeleton-name`."""

    modality: str | None = None
    """Observation whose keypoints are encoded; the capture's first that has keypoints if null."""
    noise: NonNegativeFloat = 0.003
    """Standard deviation of the noise on keypoints in training, as a share of the picture's width."""
    hidden: PositiveInt = 256
    """Width of the hidden layer."""
    features: PositiveInt = 128
    """Width of the features h, which flows are conditioned on."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"hidden": 16, "features": 12},
        "small": {"hidden": 64, "features": 32},
    }

    def plan(self, given: EncoderInputs) -> Plan:
        """Needs an observation of keypoints; makes "mean", "log_std" and "features"."""
        name = self.modality or next((n for n, tensors in given.observations.items() if "points" in tensors), "")
        points = given.observations.get(name, {}).get("points")
        if points is None:
            offered = ", ".join(given.observations) or "nothing"
            wanted = f"keypoints of '{name}'" if name else "keypoints"
            raise Mismatch(f"encoder 'skeleton-name' encodes {wanted}, but the capture offers {offered}")
        return Plan(
            inputs={f"{name}.points": points},
            outputs={"mean": (given.code,), "log_std": (given.code,), "features": (self.features,)},
            needs=(name,),
        )
