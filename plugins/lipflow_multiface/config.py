"""Options of the capture `multiface`. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from lipflow_core.config import Config
from lipflow_core.parts import RendererSlot
from lipflow_core.plans import CaptureInputs, Mismatch, Plan, RendererInputs, Roles

if TYPE_CHECKING:
    from lipflow_multiface.survey import Survey

Side = Annotated[int, Field(ge=8)]
Size = tuple[Side, Side]
Point = tuple[float, float, float]
Gain = tuple[PositiveFloat, PositiveFloat, PositiveFloat]


class ColourConfig(Config):
    """How raw colours become those of pictures."""

    gain: dict[str, Gain] = Field(default_factory=dict)
    """Camera → factors of red, green and blue; "*" stands for all others and for average textures."""
    gamma: PositiveFloat = 1.0
    """Pictures are brightened by the power 1/gamma after the gain; 1 leaves the curve as it is."""

    def gain_of(self, camera: str) -> Gain:
        """Factors for a camera's pictures and textures."""
        return self.gain.get(camera, self.gain.get("*", (1.0, 1.0, 1.0)))


class HeadsetConfig(Config):
    """Headset pictures: recorded beside the capture, or filmed by three virtual cameras."""

    source: Literal["auto", "recorded", "virtual", "none"] = "auto"
    """"recorded" takes those in the capture's folder `lipflow`, "virtual" films the tracked mesh with its multi-view
    texture, "auto" takes recorded ones where there are any, "none" offers no headset pictures."""
    size: Size = (480, 640)
    """(height, width) of virtual pictures; recorded ones keep theirs."""
    right_eye: Point | None = None
    """Its place in the head frame, millimetres; if null, found from the mean mesh's tip of the nose."""
    left_eye: Point | None = None
    """Likewise."""
    mouth: Point | None = None
    """Likewise."""
    views: PositiveInt = 6
    """How many cameras' textures are blended for each virtual camera."""
    slip: NonNegativeFloat = 1.0
    """Scale of the headset's slip on the face; 1 is about 2° and 1.5 mm, 0 none."""
    gain: NonNegativeFloat = 0.10
    """Standard deviation of the logarithm of each picture's gain."""
    offset: NonNegativeFloat = 0.02
    """Standard deviation of each picture's offset, in [0, 1] units."""
    gradient: NonNegativeFloat = 0.08
    """Standard deviation of the change of light from edge to edge of each picture."""
    background: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Brightest grey behind the face."""
    noise: NonNegativeFloat = 0.02
    """Standard deviation of the noise of pixels, in [0, 1] units."""
    seed: NonNegativeInt = 0
    """Seed of everything that is drawn."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"size": (24, 32)},
        "small": {"size": (48, 64)},
        "medium": {"size": (120, 160)},
    }


class MultifaceConfig(Config):
    """Which subject, and at what size it is read."""

    path: Path
    """The capture's folder, the one that holds KRT and frame_list.txt."""
    held_out: Annotated[tuple[str, ...], Field(min_length=1)] = ("EXP_ROM", "EXP_free_face")
    """Segments whose names begin so are held out."""
    cameras: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Cameras to read, in this order; if null, those of KRT, in its order, that filmed more than half of the segments.
    """
    frontal: str | None = None
    """Name of the frontal camera; if null, the one nearest to the head's +z axis in the first frame."""
    image: Size | Side | None = None
    """Pictures are area-filtered to this (height, width), or to this longer side if one number; smaller ones on disk
    stay as they are. Null keeps the size on disk."""
    texture: Side | None = None
    """Textures are area-filtered to this side; smaller ones stay as they are. Null keeps the size on disk."""
    texture_rows: Literal["top-down", "bottom-up"] = "top-down"
    """Row 0 of textures on disk is v = 1 ("top-down", as Multiface has them) or v = 0 ("bottom-up")."""
    colour: ColourConfig = ColourConfig()
    """Gain and gamma."""
    distortion: Literal["undistort", "ignore", "refuse"] = "undistort"
    """Lens distortion is removed from pictures where it moves any pixel by more than 0.05 ("undistort"), ignored, or
    refused."""
    landmarks: Path | None = None
    """File with the vertex of each keypoint; if null, the capture's own lipflow/landmarks.json, else 274 vertices are
    chosen on the mean mesh."""
    headset: HeadsetConfig = HeadsetConfig()
    """Headset pictures."""
    supersampling: Annotated[int, Field(ge=1, le=8)] = 2
    """Masks and virtual headset pictures are drawn this many times as large and box-filtered."""
    cache: Path | None = None
    """Folder of packed captures, from `lipflow-core capture pack`; the user's cache folder if null."""
    renderer: RendererSlot = "cpu"
    """Draws masks and headset pictures."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"image": 32, "texture": 32},
        "small": {"image": 96, "texture": 64},
        "medium": {"image": 256, "texture": 256},
    }

    @field_validator("path", "landmarks", "cache")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @field_validator("cameras")
    @classmethod
    def _each_once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("names a camera twice")
        return value

    def survey(self) -> Survey:
        """What the capture's files say of its sizes. Raises CaptureError if they can't be read."""
        from lipflow_multiface.survey import survey

        return survey(self)

    def renderer_inputs(self, survey: Survey) -> RendererInputs:
        """What the renderer is planned and built with."""
        texture = (3, survey.texture, survey.texture)
        return RendererInputs(
            device="cpu", vertices=survey.vertices, triangles=len(survey.mesh.triangles), texture=texture
        )

    def plan(self, given: CaptureInputs) -> Plan:
        """Shapes of one frame's observations, read from the capture's files.

        Raises:
            lipflow_core.plans.Mismatch: If the options don't fit the capture.
            lipflow_core.errors.CaptureError: If it is missing or damaged.
        """
        found = self.survey()
        if found.problem is not None:
            raise Mismatch(found.problem)
        height, width = found.image
        count = len(found.cameras)
        outputs: dict[str, tuple[int, ...]] = {
            "face.vertices": (found.vertices, 3),
            "face.texture": (3, found.texture, found.texture),
            "dome.images": (count, 3, height, width),
            "dome.mask": (count, height, width),
            "frontal.images": (1, 3, height, width),
            "frontal.mask": (1, height, width),
        }
        if found.headset is not None:
            outputs["headset.images"] = (3, 1, *found.headset)
            outputs["headset.mask"] = (3, *found.headset)
        outputs["keypoints.points"] = (found.landmarks, 2)
        outputs["keypoints.visible"] = (found.landmarks,)
        for name, shape in found.others.items():
            outputs[name] = shape
        outputs["topology.triangles"] = (len(found.mesh.triangles), 3)
        outputs["template.landmarks"] = (found.landmarks,)
        return Plan(
            outputs=outputs,
            roles=Roles(surface="face", training_views="dome", scored_view="frontal"),
            devices=("cpu",),
            differentiable=False,
            parts={"renderer": self.renderer.plan(self.renderer_inputs(found))},
        )
