"""The capture `dome`: simulated once into a packed cache, then read from it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from lipflow_kit.cache_folder import cache_folder
from lipflow_kit.cameras import compose
from lipflow_kit.eight_bit import from_bytes
from lipflow_kit.observed_split import ObservedSplit
from torch import Tensor

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import Capture
from lipflow_core.plans import CaptureInputs
from lipflow_core.records import Camera, FaceState, Keypoints, Record, Template, Views
from lipflow_core.selection import spread
from lipflow_dome.config import DomeConfig
from lipflow_dome.filming import Film, Performance, some_cameras, view_cameras
from lipflow_dome.landmarks import landmark_vertices
from lipflow_dome.motion import SPLITS
from lipflow_dome.regions import region_weights
from lipflow_dome.simulation import simulate

DATA_VERSION = 7
"""Version of the frames, raised whenever the same options give other frames. Caches of other versions are not used."""

STATISTICS_FRAMES = 512
"""Number of training frames, evenly spread, whose vertices give the template's mean and scale."""

TEXTURE_STATISTICS = 96 * 6 * 64**2
"""Number of texels shaded for the template's texture statistics; larger textures use fewer frames and cameras."""


@dataclass(frozen=True)
class Truth(Record):
    """Ground truth of simulated frames.

    Args:
        expression: (B, 86) weights of the head's expression units.
        gaze: (B, 2, 2) yaw and pitch of the left and right eye, radians.
        pose: (B, 3, 4) [R|t], head frame → dome.
        slip: (B, 3, 4) [R|t], head frame → a head that the headset sits on perfectly.
        light: (B, 3, 4) gain, offset, and change of gain over width and height of each headset picture.
        background: (B, 3, 3) grey behind the middle of each headset picture, and its change over width and height.
        noise: (B, 3) standard deviation of the noise of each headset picture.
    """

    expression: Tensor
    gaze: Tensor
    pose: Tensor
    slip: Tensor
    light: Tensor
    background: Tensor
    noise: Tensor


class DomeSplit(ObservedSplit):
    """Reads the frames of one split from the packed cache.

    Beside the standard observations it has "truth" (`Truth`).

    Args:
        film: Film of the capture, which has the cameras.
        arrays: Name → memory-mapped array over all frames.
        performance: Motion of the subject in this split.
    """

    observations = ("face", "dome", "frontal", "headset", "keypoints", "truth")

    def __init__(self, film: Film, arrays: dict[str, np.ndarray], performance: Performance):
        self.film = film
        self.arrays = arrays
        self.segments: Sequence[str] = performance.segments
        self.numbers = np.tile(np.arange(performance.length, dtype=np.int64), performance.sequences)
        self.cameras: Sequence[str] = film.dome.names

    def observe(self, name: str, frames: np.ndarray, cameras: np.ndarray | None) -> Record:
        frontal = np.zeros((len(frames), 1), np.int64)
        match name:
            case "face":
                return FaceState(self._read("vertices", frames), self._read("texture", frames))
            case "dome":
                return self._dome_views(frames, cameras)
            case "frontal":
                return self._dome_views(frames, frontal)
            case "headset":
                extrinsics = compose(self.film.headset.extrinsics, self.arrays["slip"][frames].astype(np.float64))
                camera = view_cameras(self.film.headset, extrinsics, self.film.config.headset.size)
                return Views(self._read("headset", frames), camera, self._read("headset_mask", frames))
            case "keypoints":
                camera = self._dome_camera(frames, frontal).apply(lambda tensor: tensor[:, 0])
                return Keypoints(self._read("points", frames), self._read("visible", frames), camera)
        return Truth(**{field.name: self._read(field.name, frames) for field in fields(Truth)})

    def _dome_views(self, frames: np.ndarray, cameras: np.ndarray) -> Views:
        index = (frames[:, None], cameras)
        return Views(self._read("dome", index), self._dome_camera(frames, cameras), self._read("dome_mask", index))

    def _dome_camera(self, frames: np.ndarray, cameras: np.ndarray) -> Camera:
        pose = self.arrays["pose"][frames].astype(np.float64)
        rig = self.film.dome
        extrinsics = compose(rig.extrinsics, pose)[np.arange(len(frames))[:, None], cameras]
        return view_cameras(some_cameras(rig, cameras), extrinsics, self.film.config.image)

    def _read(self, name: str, index: np.ndarray | tuple[np.ndarray, ...]) -> Tensor:
        return from_bytes(self.arrays[name][index])


class DomeCapture(Capture):
    """A simulated capture of one person in the dome.

    Example:
        >>> from lipflow_core.interfaces import FrameRequest
        >>> capture = DomeCapture(DomeConfig(**DomeConfig.presets["tiny"]), CaptureInputs())
        >>> split = capture.split("held-out")
        >>> split.load(FrameRequest(np.arange(2), ("headset",)))["headset"].images.shape
        torch.Size([2, 3, 1, 24, 32])
    """

    def __init__(self, config: DomeConfig, given: CaptureInputs):
        super().__init__(config, given)
        self._film: Film | None = None
        self._splits: dict[str, DomeSplit] = {}

    @property
    def film(self) -> Film:
        """The cameras, the head and its shader, set up on first use."""
        if self._film is None:
            self._film = Film(self.config)
        return self._film

    @property
    def identity(self) -> str:
        content = self.config.model_dump(mode="json", exclude={"cache", "workers"})
        text = json.dumps({"dome": DATA_VERSION, **content}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """The folder of this capture's packed cache."""
        return cache_folder(self.config.cache, "dome") / f"{self.config.subject[:3]}-{self.identity}"

    def split(self, name: str) -> DomeSplit:
        if name not in SPLITS:
            raise CaptureError(f"the dome has no split '{name}'", f"It has {' and '.join(SPLITS)}.")
        if name not in self._splits:
            store = simulate(self.config, name, self.folder, lambda: self.film)
            self._splits[name] = DomeSplit(self.film, store.open(), Performance(self.config, name))
        return self._splits[name]

    def template(self) -> Template:
        """Give the mesh, its means and scales.

        Statistics are taken over training frames evenly spread: up to 512 for the vertices, and for the texture as many
        as are shaded in a second or two. No picture is drawn and the cache is not read.
        """
        return self._template

    @functools.cached_property
    def _template(self) -> Template:
        film, performance = self.film, Performance(self.config, "train")
        sampled = spread(STATISTICS_FRAMES, len(performance))
        acted = performance.of(sampled)
        vertices = film.head.deform(acted["expression"].astype(np.float64), acted["gaze"].astype(np.float64))
        vertices_mean = vertices.mean(0, dtype=np.float64)
        vertices_scale = np.sqrt(((vertices - vertices_mean) ** 2).mean(dtype=np.float64))

        cameras = spread(6, self.config.cameras)
        texels = len(cameras) * self.config.texture**2
        shaded = spread(max(8, TEXTURE_STATISTICS // texels), len(performance))
        textures = np.concatenate(
            [film.face(performance.of(shaded[start : start + 8]), cameras)[1] for start in range(0, len(shaded), 8)]
        )
        texture_mean = textures.mean(0, dtype=np.float64)
        texture_scale = np.sqrt(((textures - texture_mean) ** 2).mean(dtype=np.float64))
        return Template(
            topology=film.topology,
            vertices_mean=torch.from_numpy(vertices_mean).float(),
            vertices_scale=torch.tensor(vertices_scale).float(),
            texture_mean=torch.from_numpy(texture_mean).float(),
            texture_scale=torch.tensor(texture_scale).float(),
            landmarks=torch.from_numpy(landmark_vertices()),
            regions={name: torch.from_numpy(weights.copy()) for name, weights in region_weights().items()},
        )
