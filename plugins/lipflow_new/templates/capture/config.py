"""Options of capture `skeleton-name`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, NonNegativeInt, PositiveInt

from lipflow_core.config import Config
from lipflow_core.parts import RegistryDefault, RendererSlot
from lipflow_core.plans import CaptureInputs, Plan, RendererInputs, Roles


class SkeletonConfig(Config):
    """Options of capture `skeleton-name`."""

    seed: NonNegativeInt = 0
    """Seed of the motion."""
    grid: Annotated[int, Field(ge=4)] = 64
    """The mesh has grid × grid vertices."""
    texture: Annotated[int, Field(ge=8)] = 256
    """Side of the texture, in texels."""
    image: Annotated[int, Field(ge=8)] = 256
    """Side of every picture, in pixels."""
    cameras: PositiveInt = 9
    """Number of dome cameras; the middle one is the frontal one."""
    frames: PositiveInt = 50
    """Frames in each segment."""
    segments: PositiveInt = 40
    """Segments of training. There is one held-out segment for every four of them."""
    renderer: RendererSlot = Field(default_factory=RegistryDefault("renderer"))
    """Renderer that draws the pictures."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"grid": 8, "texture": 32, "image": 32, "cameras": 3, "frames": 3, "segments": 8},
        "small": {"grid": 16, "texture": 64, "image": 64, "cameras": 5, "frames": 10},
    }

    @property
    def landmarks(self) -> int:
        """Number of landmarks: every second vertex of every second row is one."""
        return ((self.grid + 1) // 2) ** 2

    @property
    def triangles(self) -> int:
        return 2 * (self.grid - 1) ** 2

    @property
    def drawing(self) -> RendererInputs:
        """Inputs that the renderer is planned and built with."""
        texture = (3, self.texture, self.texture)
        return RendererInputs(device="cpu", vertices=self.grid**2, triangles=self.triangles, texture=texture)

    def plan(self, given: CaptureInputs) -> Plan:
        """Give the shapes of one frame's observations."""
        size = (self.image, self.image)
        return Plan(
            outputs={
                "face.vertices": (self.grid**2, 3),
                "face.texture": (3, self.texture, self.texture),
                "dome.images": (self.cameras, 3, *size),
                "dome.mask": (self.cameras, *size),
                "frontal.images": (1, 3, *size),
                "frontal.mask": (1, *size),
                "keypoints.points": (self.landmarks, 2),
                "keypoints.visible": (self.landmarks,),
                "topology.triangles": (self.triangles, 3),
                "template.landmarks": (self.landmarks,),
            },
            roles=Roles(surface="face", training_views="dome", scored_view="frontal"),
            devices=("cpu",),
            parts={"renderer": self.renderer.plan(self.drawing)},
        )
