"""Options of the keypoint encoder, objective and metric. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat

from lipflow_core.config import Config, Depth, MetricConfig, ObjectiveConfig, Size
from lipflow_core.plans import EncoderInputs, MetricInputs, Mismatch, ObjectiveInputs, Observations, Plan, Shape


class KeypointAugmentation(Config):
    """Random changes of keypoints in training, drawn anew for each frame and epoch."""

    noise: NonNegativeFloat = 0.003
    """Standard deviation of random noise on each coordinate, as a fraction of the picture's width; 0 for no noise."""


class KeypointEncoderConfig(Config):
    """Options of encoder `keypoint`."""

    modality: str = "keypoints"
    """Name of the observation whose keypoints are encoded."""
    hidden: Size = 512
    """Width of the residual blocks."""
    blocks: Annotated[int, Field(ge=0, le=2**10)] = 4
    """Number of residual blocks; more blocks make the encoder larger and slower."""
    dense_per_block: Depth = 3
    """Number of dense layers in a block, with batch norm, ReLU and dropout; 3 matches the paper's compute count."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that dropout zeroes an activation within blocks; 0 for no dropout."""
    features: Size = 1024
    """Width of the features h that flows are conditioned on."""
    augmentation: KeypointAugmentation = KeypointAugmentation()
    """Random changes of the keypoints, applied in training when this is the driving encoder."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"hidden": 16, "blocks": 1, "dense_per_block": 2, "features": 32},
        "small": {"hidden": 128, "features": 256},
        "medium": {"hidden": 256, "features": 512},
    }

    def plan(self, given: EncoderInputs) -> Plan:
        """Plan an encoder of the modality's keypoints with outputs "mean", "log_std" and "features"."""
        points = keypoints_of("encoder 'keypoint' encodes", "modality", self.modality, given.observations)
        return Plan(
            inputs={f"{self.modality}.points": points},
            outputs={"mean": (given.code,), "log_std": (given.code,), "features": (self.features,)},
            needs=(self.modality,),
        )


class KeypointObjectiveConfig(ObjectiveConfig):
    """Options of objective `keypoint`."""

    target: str = "keypoints"
    """Name of the observation whose keypoints are compared."""
    unit: Literal["standardised", "width", "pixel"] = "standardised"
    """Unit of distances in the picture: "standardised" is the template's vertex scale, projected at the head's distance
    from the camera; "width" is the picture's width; "pixel" is one pixel."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Plan a comparison of projected landmarks with the target's keypoints."""
        return _plan_of_projected_landmarks("objective 'keypoint'", self.target, given, "loss")


class KeypointErrorConfig(MetricConfig):
    """Options of metric `keypoint-error`."""

    heading: ClassVar[str] = "Keypoints"
    unit: ClassVar[str] = "px"
    digits: ClassVar[int] = 2
    definition: ClassVar[str] = (
        "Distance between projected landmarks and visible keypoints in pixels, averaged over them."
    )

    target: str = "keypoints"
    """Name of the observation whose keypoints are compared."""

    def plan(self, given: MetricInputs) -> Plan:
        """Plan a comparison of projected landmarks with the target's keypoints."""
        return _plan_of_projected_landmarks("metric 'keypoint-error'", self.target, given, "score")


def _plan_of_projected_landmarks(who: str, target: str, given: ObjectiveInputs | MetricInputs, output: str) -> Plan:
    points = keypoints_of(f"{who} compares with", "target", target, given.observations)
    if given.landmarks == 0:
        raise Mismatch(
            f"{who} projects the template's landmarks, but the capture's template has none; use a capture with "
            "landmarks, or leave it out"
        )
    if given.landmarks != points[0]:
        raise Mismatch(
            f"{who} pairs landmarks and keypoints one to one, but the capture's template has {given.landmarks} "
            f"landmarks and its observation '{target}' {points[0]} points"
        )
    needs = ("vertices", f"target:{target}")
    return Plan(inputs={f"{target}.points": points}, outputs={output: ()}, needs=needs, residuals=output == "loss")


def keypoints_of(who: str, option: str, name: str, observations: Observations) -> Shape:
    """Return the shape (K, 2) of an observation's points. Raises `Mismatch` if the observation has no keypoints."""
    points = observations.get(name, {}).get("points")
    if points is None:
        offered = ", ".join(f"'{name}'" for name in observations) or "none"
        raise Mismatch(
            f"{who} keypoints of the observation '{name}', which the capture does not have; it offers {offered}; "
            f"set its option {option} to an observation with keypoints"
        )
    if len(points) != 2 or points[1] != 2 or points[0] < 1:
        raise Mismatch(f"{who} keypoints (K, 2) with K ≥ 1, the capture gives {points}")
    return points
