"""A capture for training's tests: a spherical head that breathes, drawn once in a second; a plugin as a user's file is.

The descriptor and the Config are here; `globe_capture` beside it holds the implementation.
"""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt

from lipflow_core.config import Config
from lipflow_core.hooks import Component, hookimpl
from lipflow_core.plans import CaptureInputs, Plan, Roles

VERTICES, TRIANGLES, TEXTURE, LANDMARKS, CAMERAS = 42, 80, 32, 12, 3


class GlobeConfig(Config):
    """A spherical head whose shape and colour follow three factors."""

    frames: PositiveInt = 24
    """Training frames."""
    seed: NonNegativeInt = 0
    """Of the factors."""
    empty: str | None = None
    """Name of a split that has no frames; none if null."""
    broken: NonNegativeInt | None = None
    """Position of a training frame whose headset pictures hold NaN; none if null."""

    def plan(self, given: CaptureInputs) -> Plan:
        return Plan(
            outputs={
                "face.vertices": (VERTICES, 3),
                "face.texture": (3, TEXTURE, TEXTURE),
                "dome.images": (CAMERAS, 3, 32, 32),
                "dome.mask": (CAMERAS, 32, 32),
                "frontal.images": (1, 3, 32, 32),
                "frontal.mask": (1, 32, 32),
                "headset.images": (3, 1, 24, 32),
                "headset.mask": (3, 24, 32),
                "keypoints.points": (LANDMARKS, 2),
                "keypoints.visible": (LANDMARKS,),
                "topology.triangles": (TRIANGLES, 3),
                "template.landmarks": (LANDMARKS,),
            },
            roles=Roles(surface="face", training_views="dome", scored_view="frontal"),
        )


@hookimpl
def lipflow_components():
    yield Component(
        kind="capture",
        name="globe",
        implementation="globe_capture:GlobeCapture",
        config="globe:GlobeConfig",
        summary="A spherical head that breathes",
    )
