"""Options of the capture `dome`. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, field_validator, model_validator

from lipflow_core.config import Config
from lipflow_core.parts import RendererSlot
from lipflow_core.plans import CaptureInputs, Plan, RendererInputs, Roles

VERTICES, TRIANGLES, LANDMARKS, UNITS = 6109, 11958, 274, 86
"""Facts of the head asset, known here so that planning needs no numpy."""

SUBJECTS = (
    "p01_caucasian_male",
    "p02_caucasian_female",
    "p03_asian_female",
    "p04_asian_male",
    "p05_african_male",
    "p06_african_female",
    "p07_south_asian_male",
    "p08_mixed_female_middle",
)

Size = tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]]


class DomeConfig(Config):
    """What is filmed, how, and at what size."""

    subject: str = "p01"
    """One of the eight subjects, by full id or by its first three characters ("p01")."""
    identity: dict[str, float] | NonNegativeInt | None = None
    """Replaces the subject's shape: weights of the head's identity modes, or the seed of a random person. The subject
    then gives the albedo only."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of everything that is drawn: motion, head pose, headset light and slip, noise."""
    texture: Annotated[int, Field(ge=16, le=4096)] = 1024
    """Height and width of the square texture."""
    image: Size = (2048, 1334)
    """(height, width) of dome pictures, the frontal one included."""
    cameras: Annotated[int, Field(ge=1, le=150)] = 40
    """Number of dome cameras; camera 0 is "frontal"."""
    headset: Size = (480, 640)
    """(height, width) of headset pictures."""
    sequences: PositiveInt = 120
    """Number of training sequences, each different."""
    held_out_sequences: PositiveInt = 12
    """Number of held-out sequences; their segments begin with "EXP_ROM" or "EXP_free_face"."""
    frames_per_sequence: PositiveInt = 100
    """Frames in each sequence."""
    supersampling: Annotated[int, Field(ge=1, le=8)] = 2
    """Pictures are drawn this many times as large and box-filtered."""
    head_motion: NonNegativeFloat = 1.0
    """Scale of the head's motion in the dome; 1 is about 4° and 5 mm, 0 none."""
    headset_slip: NonNegativeFloat = 1.0
    """Scale of the headset's slip on the face; 1 is about 2° and 1.5 mm, 0 none."""
    headset_gain: NonNegativeFloat = 0.10
    """Standard deviation of the logarithm of each headset picture's gain."""
    headset_offset: NonNegativeFloat = 0.02
    """Standard deviation of each headset picture's offset, in [0, 1] units."""
    headset_gradient: NonNegativeFloat = 0.08
    """Standard deviation of the change of light from edge to edge of each headset picture."""
    headset_background: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Brightest grey behind the face in headset pictures."""
    headset_noise: NonNegativeFloat = 0.02
    """Standard deviation of the noise of headset pixels, in [0, 1] units."""
    keypoint_noise: NonNegativeFloat = 0.0
    """Standard deviation of keypoints, pixels."""
    cache: Path | None = None
    """Folder that holds simulated captures; the user's cache folder if null."""
    workers: NonNegativeInt = 0
    """Processes that simulate; 0 takes one per CPU core."""
    renderer: RendererSlot = "cpu"
    """Draws the pictures."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "texture": 32,
            "image": (32, 32),
            "cameras": 3,
            "headset": (24, 32),
            "sequences": 8,
            "held_out_sequences": 2,
            "frames_per_sequence": 3,
            "workers": 1,
        },
        "small": {
            "texture": 64,
            "image": (96, 96),
            "cameras": 6,
            "headset": (48, 64),
            "sequences": 300,
            "held_out_sequences": 16,
            "frames_per_sequence": 10,
        },
        "medium": {
            "texture": 256,
            "image": (256, 256),
            "cameras": 12,
            "headset": (120, 160),
            "sequences": 300,
            "held_out_sequences": 16,
            "frames_per_sequence": 10,
        },
    }

    @field_validator("subject")
    @classmethod
    def _full_subject(cls, value: str) -> str:
        for subject in SUBJECTS:
            if value in (subject, subject[:3]):
                return subject
        raise ValueError(f"there is no subject '{value}'; there are {', '.join(SUBJECTS)}, or short p01 to p08")

    @model_validator(mode="after")
    def _enough_frames(self) -> DomeConfig:
        if self.sequences * self.frames_per_sequence < 2:
            raise ValueError("a capture needs at least two training frames: raise sequences or frames_per_sequence")
        return self

    @property
    def renderer_inputs(self) -> RendererInputs:
        """What the renderer is planned and built with."""
        texture = (3, self.texture, self.texture)
        return RendererInputs(device="cpu", vertices=VERTICES, triangles=TRIANGLES, texture=texture)

    def plan(self, given: CaptureInputs) -> Plan:
        """Shapes of one frame's observations. Raises Mismatch if the renderer can't draw on the CPU."""
        height, width = self.image
        headset_height, headset_width = self.headset
        return Plan(
            outputs={
                "face.vertices": (VERTICES, 3),
                "face.texture": (3, self.texture, self.texture),
                "dome.images": (self.cameras, 3, height, width),
                "dome.mask": (self.cameras, height, width),
                "frontal.images": (1, 3, height, width),
                "frontal.mask": (1, height, width),
                "headset.images": (3, 1, headset_height, headset_width),
                "headset.mask": (3, headset_height, headset_width),
                "keypoints.points": (LANDMARKS, 2),
                "keypoints.visible": (LANDMARKS,),
                "truth.expression": (UNITS,),
                "truth.gaze": (2, 2),
                "truth.pose": (3, 4),
                "truth.slip": (3, 4),
                "truth.light": (3, 4),
                "truth.background": (3, 3),
                "truth.noise": (3,),
                "topology.triangles": (TRIANGLES, 3),
                "template.landmarks": (LANDMARKS,),
            },
            roles=Roles(surface="face", training_views="dome", scored_view="frontal"),
            devices=("cpu",),
            differentiable=False,
            parts={"renderer": self.renderer.plan(self.renderer_inputs)},
        )
