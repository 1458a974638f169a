"""A capture with an observation of a record type of its own, and an encoder, an objective and a metric that use it.

The descriptors and Configs are here; `cloud_parts` beside it holds the classes.
"""

from __future__ import annotations

from typing import ClassVar

from lipflow_core.config import Config, MetricConfig, ObjectiveConfig
from lipflow_core.hooks import Component, hookimpl
from lipflow_core.plans import CaptureInputs, EncoderInputs, MetricInputs, Mismatch, ObjectiveInputs, Plan, Roles

POINTS = 7


class CloudCaptureConfig(Config):
    """Options of capture `cloud`."""

    frames: int = 12
    """Training frames."""

    def plan(self, given: CaptureInputs) -> Plan:
        return Plan(
            outputs={
                "skin.vertices": (42, 3),
                "skin.texture": (3, 32, 32),
                "ring.images": (2, 3, 32, 32),
                "ring.mask": (2, 32, 32),
                "front.images": (1, 3, 32, 32),
                "front.mask": (1, 32, 32),
                "cloud.points": (POINTS, 3),
                "topology.triangles": (80, 3),
                "template.landmarks": (12,),
            },
            roles=Roles(surface="skin", training_views="ring", scored_view="front"),
        )


class CloudEncoderConfig(Config):
    """Options of encoder `cloud`."""

    noise: float = 0.5
    """Standard deviation of the noise of the augmentation, millimetres."""

    def plan(self, given: EncoderInputs) -> Plan:
        points = _points(given)
        outputs = {"mean": (given.code,), "log_std": (given.code,), "features": (5,)}
        return Plan(inputs={"cloud.points": points}, outputs=outputs, needs=("cloud",))


class CloudObjectiveConfig(ObjectiveConfig):
    """Options of objective `cloud`."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        return Plan(inputs={"cloud.points": _points(given)}, needs=("vertices", "target:cloud"))


class CloudMetricConfig(MetricConfig):
    """Options of metric `cloud`."""

    heading: ClassVar[str] = "Cloud"
    unit: ClassVar[str] = "mm"
    definition: ClassVar[str] = "Distance of the points to the nearest vertex, averaged over points."

    def plan(self, given: MetricInputs) -> Plan:
        return Plan(inputs={"cloud.points": _points(given)}, needs=("vertices", "target:cloud"))


def _points(given: EncoderInputs | ObjectiveInputs | MetricInputs) -> tuple[int, ...]:
    if "cloud" not in given.observations:
        raise Mismatch("'cloud' uses the observation 'cloud', which the capture lacks")
    return given.observations["cloud"]["points"]


@hookimpl
def lipflow_components():
    for kind in ("capture", "encoder", "objective", "metric"):
        yield Component(
            kind=kind,
            name="cloud",
            implementation=f"cloud_parts:Cloud{kind.capitalize()}",
            config=f"cloud:Cloud{kind.capitalize()}Config",
            summary="Points in space",
        )
