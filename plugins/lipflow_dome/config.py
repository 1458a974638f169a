"""Options of the capture `dome`. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from lipflow_kit.cache_folder import UserPath
from lipflow_kit.headset_options import HeadsetOptions
from lipflow_kit.observations import ROLES, face_outputs
from lipflow_kit.picture_sizes import PictureSize, drawing_problem
from pydantic import Field, NonNegativeInt, field_validator, model_validator

from lipflow_core.config import Config
from lipflow_core.parts import RendererSlot
from lipflow_core.plans import CaptureInputs, Plan, RendererInputs

VERTICES, TRIANGLES, LANDMARKS, UNITS = 6109, 11958, 274, 86
"""Sizes of the head asset, written here so that planning needs no numpy."""

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

_SHORT_SEQUENCES = {"sequences": 300, "held_out_sequences": 16, "frames_per_sequence": 10}

LARGEST_SHADING = 1 << 29
"""Texels that may be shaded for one frame, over all cameras. Each takes 16 bytes: 8.6 GB."""


class DomeConfig(Config):
    """Whom the dome films, how, and at what size."""

    subject: str = "p01"
    """One of the eight subjects, by full id ("p01_caucasian_male") or by its first three characters ("p01")."""
    identity: dict[str, Annotated[float, Field(ge=-10, le=10)]] | NonNegativeInt | None = None
    """Shape that replaces the subject's: weights of the head's identity modes, or the seed of a random person. The
    subject then gives the colours only."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of everything that is drawn at random: motion, head pose, headset light and slip, noise."""
    texture: Annotated[int, Field(ge=16, le=4096)] = 1024
    """Height and width of the square texture in pixels."""
    image: PictureSize = (2048, 1334)
    """Height and width of the dome's pictures in pixels, the frontal one included."""
    cameras: Annotated[int, Field(ge=1, le=150)] = 40
    """Number of dome cameras. Camera 0 is "frontal"."""
    headset: HeadsetOptions = HeadsetOptions()
    """Size, slip and lighting of the headset pictures."""
    sequences: Annotated[int, Field(ge=1, le=1_000_000)] = 120
    """Number of training sequences. No two are alike."""
    held_out_sequences: Annotated[int, Field(ge=1, le=1_000_000)] = 12
    """Number of held-out sequences. Their segments begin with "EXP_ROM" or "EXP_free_face"."""
    frames_per_sequence: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Number of frames in each sequence."""
    supersampling: Annotated[int, Field(ge=1, le=8)] = 2
    """Factor by which pictures are drawn larger in each direction, then box-filtered to their size."""
    head_motion: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Scale of the head's motion in the dome. 1 is about 4° and 5 mm; 0 is none."""
    keypoint_noise: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Standard deviation of the noise added to keypoints, in pixels of the frontal picture."""
    cache: UserPath | None = None
    """Folder that keeps simulated captures. If null, `$LIPFLOW_CORE_CACHE/dome` or else the user's cache folder."""
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Number of processes that simulate. 0 is one for each CPU core."""
    renderer: RendererSlot = "cpu"
    """Renderer that draws the pictures."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "texture": 32,
            "image": (32, 32),
            "cameras": 3,
            "headset": HeadsetOptions.presets["tiny"],
            "sequences": 8,
            "held_out_sequences": 2,
            "frames_per_sequence": 3,
            "workers": 1,
        },
        "small": {
            "texture": 64,
            "image": (96, 96),
            "cameras": 6,
            "headset": HeadsetOptions.presets["small"],
            **_SHORT_SEQUENCES,
        },
        "medium": {
            "texture": 256,
            "image": (256, 256),
            "cameras": 12,
            "headset": HeadsetOptions.presets["medium"],
            **_SHORT_SEQUENCES,
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

    @model_validator(mode="after")
    def _fits_the_memory(self) -> DomeConfig:
        for option, size in (("image", self.image), ("headset.size", self.headset.size)):
            if problem := drawing_problem(option, size, self.supersampling):
                raise ValueError(problem)
        texels = self.texture**2 * (self.cameras + 3)
        if texels > LARGEST_SHADING:
            raise ValueError(
                f"texture {self.texture} with {self.cameras} cameras means {texels:,} texels a frame; "
                f"at most {LARGEST_SHADING:,} are shaded at once, since each takes 16 bytes"
            )
        return self

    @property
    def renderer_inputs(self) -> RendererInputs:
        """Sizes that the renderer is planned and built for."""
        texture = (3, self.texture, self.texture)
        return RendererInputs(device="cpu", vertices=VERTICES, triangles=TRIANGLES, texture=texture)

    def plan(self, given: CaptureInputs) -> Plan:
        """Give the shapes of one frame's observations.

        Raises:
            lipflow_core.plans.Mismatch: If the renderer can't draw on the CPU.
        """
        return Plan(
            outputs=face_outputs(
                vertices=VERTICES,
                triangles=TRIANGLES,
                texture=self.texture,
                cameras=self.cameras,
                image=self.image,
                headset=self.headset.size,
                landmarks=LANDMARKS,
                others={
                    "truth.expression": (UNITS,),
                    "truth.gaze": (2, 2),
                    "truth.pose": (3, 4),
                    "truth.slip": (3, 4),
                    "truth.light": (3, 4),
                    "truth.background": (3, 3),
                    "truth.noise": (3,),
                },
            ),
            roles=ROLES,
            devices=("cpu",),
            parts={"renderer": self.renderer.plan(self.renderer_inputs)},
        )
