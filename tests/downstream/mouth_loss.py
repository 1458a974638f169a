"""A loss that is not shipped: the picture's error at the mouth. `mouth_loss_objective` beside it computes it."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import PositiveFloat

from lipflow_core.config import ObjectiveConfig
from lipflow_core.hooks import Component, hookimpl
from lipflow_core.plans import Mismatch, ObjectiveInputs, Plan


@hookimpl
def lipflow_components() -> Iterator[Component]:
    """Yield the objective `mouth-photometric`."""
    yield Component(
        kind="objective",
        name="mouth-photometric",
        implementation="mouth_loss_objective:MouthPhotometricObjective",
        config="mouth_loss:MouthPhotometricConfig",
        summary="Squared error of rendered pictures where they show the mouth",
    )


class MouthPhotometricConfig(ObjectiveConfig):
    """Options of objective `mouth-photometric`."""

    target: str | None = None
    """Observation whose pictures are compared. If null, training compares the training views; fitting must name one."""
    radius: PositiveFloat = 20.0
    """Distance from the middle of the mouth at which a pixel's weight falls to 0.61, in millimetres."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Needs pictures of the target's cameras and the target."""
        target = self.target or given.view
        images = given.observations.get(target, {}).get("images")
        if images is None:
            raise Mismatch(f"objective 'mouth-photometric' compares pictures of '{target}', which the capture lacks")
        return Plan(
            inputs={f"{target}.images": images},
            outputs={"loss": ()},
            needs=(f"render:{target}", f"target:{target}"),
        )
