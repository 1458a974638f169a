"""Options of the capture `tube`. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveInt

from lipflow_core.config import Config
from lipflow_core.parts import RegistryDefault, RendererSlot
from lipflow_core.plans import CaptureInputs, Plan, RendererInputs, Roles

RINGS, SECTORS = 16, 16
"""Vertices along the tube and around it."""

VERTICES, TRIANGLES, MARKERS, PROBES = RINGS * SECTORS, 2 * (RINGS - 1) * SECTORS, 24, 2

Side = Annotated[int, Field(ge=8)]


class TubeConfig(Config):
    """Options of capture `tube`: how much is filmed, and at what size."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the motion, of the texture's pattern and of the probe's light and noise."""
    sequences: PositiveInt = 24
    """Training sequences. In each the tube moves from one random posture to another."""
    held_out_sequences: PositiveInt = 3
    """Held-out sequences."""
    frames_per_sequence: Annotated[int, Field(ge=2)] = 4
    """Frames in each sequence."""
    texture: Annotated[int, Field(ge=8)] = 32
    """Height and width of the square texture."""
    cameras: PositiveInt = 4
    """Number of calibrated cameras around the tube."""
    image: tuple[Side, Side] = (32, 32)
    """(height, width) of the pictures of the ring and of the side camera."""
    probe: tuple[Side, Side] = (24, 32)
    """(height, width) of the two grey pictures of the probe."""
    probe_noise: NonNegativeFloat = 0.02
    """Standard deviation of the noise of the probe's pixels, an intensity in [0, 1]."""
    renderer: RendererSlot = Field(default_factory=RegistryDefault("renderer"))
    """Renderer that draws the pictures."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "small": {"sequences": 100, "held_out_sequences": 8, "texture": 64, "image": (96, 96), "probe": (48, 64)},
    }

    @property
    def renderer_inputs(self) -> RendererInputs:
        """The inputs that the renderer is planned and built with."""
        texture = (3, self.texture, self.texture)
        return RendererInputs(device="cpu", vertices=VERTICES, triangles=TRIANGLES, texture=texture)

    def plan(self, given: CaptureInputs) -> Plan:
        """Offers the tube's surface, the ring, the side camera, the probe and markers."""
        return Plan(
            outputs={
                "surface.vertices": (VERTICES, 3),
                "surface.texture": (3, self.texture, self.texture),
                "ring.images": (self.cameras, 3, *self.image),
                "ring.mask": (self.cameras, *self.image),
                "side.images": (1, 3, *self.image),
                "side.mask": (1, *self.image),
                "probe.images": (PROBES, 1, *self.probe),
                "probe.mask": (PROBES, *self.probe),
                "markers.points": (MARKERS, 2),
                "markers.visible": (MARKERS,),
                "topology.triangles": (TRIANGLES, 3),
                "template.landmarks": (MARKERS,),
            },
            roles=Roles(surface="surface", training_views="ring", scored_view="side"),
            devices=("cpu",),
            parts={"renderer": self.renderer.plan(self.renderer_inputs)},
        )
