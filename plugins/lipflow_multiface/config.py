"""Options of the capture `multiface`. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from lipflow_kit.cache_folder import UserPath
from lipflow_kit.headset_options import HeadsetOptions
from lipflow_kit.observations import ROLES, face_outputs
from lipflow_kit.picture_sizes import PictureSide, PictureSize, drawing_problem
from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from lipflow_core.config import Config
from lipflow_core.parts import RendererSlot
from lipflow_core.plans import CaptureInputs, Mismatch, Plan, RendererInputs

if TYPE_CHECKING:
    from lipflow_multiface.survey import Survey

Coordinate = Annotated[float, Field(ge=-1e4, le=1e4)]
Point = tuple[Coordinate, Coordinate, Coordinate]
Factor = Annotated[float, Field(gt=0, le=1000)]
Gain = tuple[Factor, Factor, Factor]


class ColourConfig(Config):
    """Conversion of raw colours into those that losses see."""

    gain: dict[str, Gain] = Field(default_factory=dict)
    """Camera → factors of red, green and blue. "*" stands for all other cameras and for average textures."""
    gamma: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """Exponent 1/gamma is applied after the gain, which brightens pictures for gamma above 1."""

    def gain_of(self, camera: str) -> Gain:
        """Give the factors for a camera's pictures and textures."""
        return self.gain.get(camera, self.gain.get("*", (1.0, 1.0, 1.0)))


class HeadsetConfig(HeadsetOptions):
    """Headset pictures: recorded beside the capture, or filmed by three virtual cameras.

    Size, slip and lighting are those of virtual pictures; recorded ones are read as they are.
    """

    source: Literal["auto", "recorded", "virtual", "none"] = "auto"
    """Where headset pictures come from: the capture's folder `lipflow` ("recorded"), the tracked mesh filmed with its
    multi-view texture ("virtual"), recorded ones where there are any ("auto"), or nowhere ("none")."""
    right_eye: Point | None = None
    """Place of the right eye in the head frame, millimetres. If null, estimated from the mean mesh's tip of the nose.
    """
    left_eye: Point | None = None
    """Place of the left eye in the head frame, millimetres. If null, estimated like the right eye's."""
    mouth: Point | None = None
    """Place of the mouth in the head frame, millimetres. If null, estimated like the right eye's."""
    views: PositiveInt = 6
    """Number of cameras whose textures are blended for each virtual camera."""
    seed: NonNegativeInt = 0
    """Seed of the random slip, light, background and noise of virtual pictures."""

    @property
    def anchors(self) -> dict[str, Point | None]:
        """Places of eyes and mouth that are given, by name."""
        return {"right_eye": self.right_eye, "left_eye": self.left_eye, "mouth": self.mouth}


class MultifaceConfig(Config):
    """The subject to read, and at what size."""

    path: UserPath
    """The capture's folder, which holds KRT and frame_list.txt."""
    held_out: Annotated[tuple[str, ...], Field(min_length=1)] = ("EXP_ROM", "EXP_free_face")
    """Prefixes of the names of held-out segments."""
    cameras: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Cameras to read, in this order. If null, those of KRT, in its order, that filmed more than half of the segments.
    """
    frontal: str | None = None
    """Name of the frontal camera. If null, the one nearest to the head's +z axis in the first frame."""
    image: PictureSize | PictureSide | None = None
    """Size to which pictures are area-filtered: (height, width), or one number for the longer side. Smaller pictures
    stay as they are. If null, pictures keep their size on disk."""
    texture: PictureSide | None = None
    """Side to which textures are area-filtered. Smaller textures stay as they are. If null, they keep their size on
    disk."""
    texture_rows: Literal["top-down", "bottom-up"] = "top-down"
    """Whether row 0 of textures on disk is v = 1 ("top-down", as in Multiface) or v = 0 ("bottom-up")."""
    colour: ColourConfig = ColourConfig()
    """Gain and gamma of pictures and textures."""
    distortion: Literal["undistort", "ignore", "refuse"] = "undistort"
    """Treatment of lens distortion that moves any pixel by more than 0.05: remove it from pictures ("undistort"), leave
    it in ("ignore"), or refuse the capture ("refuse")."""
    landmarks: UserPath | None = None
    """File with the vertex of each keypoint. If null, the capture's lipflow/landmarks.json; without that, 274 vertices
    are chosen on the mean mesh."""
    regions: UserPath | None = None
    """JSON file with the regions of the mesh that fitting may be restricted to: `{"eyes": {"vertices": [12, 345],
    "weights": [1, 0.5]}, ...}`. If null, the capture's lipflow/regions.json; without that, eyes and mouth are chosen on
    the mean mesh around `headset.right_eye`, `headset.left_eye` and `headset.mouth`."""
    headset: HeadsetConfig = HeadsetConfig()
    """Source, size, slip and lighting of headset pictures."""
    supersampling: Annotated[int, Field(ge=1, le=8)] = 2
    """Factor by which masks and virtual headset pictures are drawn larger in each direction, then box-filtered."""
    cache: UserPath | None = None
    """Folder that keeps packed captures. If null, `$LIPFLOW_CORE_CACHE/multiface` or else the user's cache folder."""
    renderer: RendererSlot = "cpu"
    """Renderer that draws masks and virtual headset pictures."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"image": 32, "texture": 32},
        "small": {"image": 96, "texture": 64},
        "medium": {"image": 256, "texture": 256},
    }

    @field_validator("cameras")
    @classmethod
    def _each_once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("names a camera twice")
        return value

    @model_validator(mode="after")
    def _fits_the_memory(self) -> MultifaceConfig:
        if problem := drawing_problem("headset.size", self.headset.size, self.supersampling):
            raise ValueError(problem)
        return self

    def survey(self) -> Survey:
        """Read the sizes of the capture from its files. Raises a CaptureError if they can't be read."""
        from lipflow_multiface.survey import SurveyOptions, survey

        return survey(
            SurveyOptions(
                path=self.path,
                cameras=self.cameras,
                frontal=self.frontal,
                image=self.image,
                texture=self.texture,
                distortion=self.distortion,
                landmarks=self.landmarks,
                regions=self.regions,
                headset_source=self.headset.source,
                headset_size=self.headset.size,
                supersampling=self.supersampling,
            )
        )

    def renderer_inputs(self, survey: Survey) -> RendererInputs:
        """Give the sizes that the renderer is planned and built for."""
        texture = (3, survey.texture, survey.texture)
        return RendererInputs(
            device="cpu", vertices=survey.vertices, triangles=len(survey.mesh.triangles), texture=texture
        )

    def plan(self, given: CaptureInputs) -> Plan:
        """Give the shapes of one frame's observations, read from the capture's files.

        Raises:
            lipflow_core.plans.Mismatch: If the options do not fit the capture.
            lipflow_core.errors.CaptureError: If the capture is missing or damaged.
        """
        found = self.survey()
        if found.problem is not None:
            raise Mismatch(found.problem)
        return Plan(
            outputs=face_outputs(
                vertices=found.vertices,
                triangles=len(found.mesh.triangles),
                texture=found.texture,
                cameras=len(found.cameras),
                image=found.image,
                headset=found.headset,
                landmarks=found.landmarks,
                others=found.others,
                regions=found.regions,
            ),
            roles=ROLES,
            devices=("cpu",),
            parts={"renderer": self.renderer.plan(self.renderer_inputs(found))},
        )
