"""Options of decoder `skeleton-name`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import PositiveInt

from lipflow_core.config import Config
from lipflow_core.plans import DecoderInputs, Mismatch, Plan


class SkeletonConfig(Config):
    """Options of decoder `skeleton-name`."""

    hidden: PositiveInt = 128
    """Width of the hidden layer of the texture's branch."""
    coarse: PositiveInt = 32
    """Side of the coarse texture that is enlarged to the capture's."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {"hidden": 16, "coarse": 8}, "small": {"hidden": 64}}

    def plan(self, given: DecoderInputs) -> Plan:
        """Makes standardised vertices and, for each view, a standardised texture."""
        if len(given.texture) != 3 or given.texture[0] != 3:
            raise Mismatch(f"decoder 'skeleton-name' makes RGB textures, but the capture's have shape {given.texture}")
        return Plan(
            inputs={"code": (given.code,), "view_direction": (3,)},
            outputs={"vertices": (given.vertices, 3), "texture": given.texture},
        )
