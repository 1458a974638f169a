"""Options of renderer `skeleton-name`. Imports no torch."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt

from lipflow_core.config import Config
from lipflow_core.plans import Mismatch, Plan, RendererInputs

DEVICES = ("cpu", "cuda")


class SkeletonConfig(Config):
    """Options of renderer `skeleton-name`."""

    near: PositiveFloat = 1.0
    """Triangles with a corner nearer than this many millimetres are not drawn."""
    chunk: PositiveInt = 1024
    """Triangles tested against all pixels at once: bounds the memory."""

    def plan(self, given: RendererInputs) -> Plan:
        """Draws on CPU or CUDA."""
        if given.device not in DEVICES:
            raise Mismatch(f"renderer 'skeleton-name' runs on {' and '.join(DEVICES)}, not on '{given.device}'")
        return Plan(
            inputs={"vertices": (given.vertices, 3), "texture": given.texture},
            outputs={"image": (given.texture[0],)},
            devices=DEVICES,
        )
