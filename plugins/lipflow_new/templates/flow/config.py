"""Options of flow `skeleton-name`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, PositiveInt

from lipflow_core.config import Config
from lipflow_core.parts import CouplingSlot, RegistryDefault
from lipflow_core.plans import CouplingInputs, FlowInputs, Mismatch, Plan


class SkeletonConfig(Config):
    """Options of flow `skeleton-name`."""

    steps: PositiveInt = 8
    """Number of couplings; they transform the two halves of the code in turn."""
    hidden: PositiveInt = 256
    """Width of the couplings' conditioner networks."""
    blocks: PositiveInt = 2
    """Residual blocks of each conditioner."""
    coupling: CouplingSlot = Field(default_factory=RegistryDefault("coupling"))
    """Coupling of every step."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"steps": 2, "hidden": 16, "blocks": 1},
        "small": {"steps": 4, "hidden": 64},
    }

    def coupling_inputs(self, given: FlowInputs, step: int) -> CouplingInputs:
        """Give the inputs that the coupling of one step is built from."""
        return CouplingInputs(
            features=given.features,
            context=given.context,
            hidden=self.hidden,
            blocks=self.blocks,
            batch_norm=False,
            flip=step % 2 == 1,
        )

    def plan(self, given: FlowInputs) -> Plan:
        """Maps codes to codes; preserves volume if its couplings do."""
        coupling = self.coupling.plan(self.coupling_inputs(given, 0))
        if not coupling.invertible:
            raise Mismatch(f"flow 'skeleton-name' must be invertible, but coupling '{self.coupling.name}' is not")
        context = {"context": (given.context,)} if given.context else {}
        return Plan(
            inputs={"code": (given.features,), **context},
            outputs={"code": (given.features,)},
            devices=coupling.devices,
            invertible=True,
            volume_preserving=coupling.volume_preserving,
            parts={"coupling": coupling},
        )
