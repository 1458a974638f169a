"""The capture `dome`: simulated once into a packed cache, then read from it."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import platformdirs
import torch
from lipflow_kit.cameras import compose
from torch import Tensor

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import Capture, FrameRequest, Split
from lipflow_core.plans import CaptureInputs
from lipflow_core.records import FaceState, Frame, Keypoints, Record, Template, Views
from lipflow_core.splits import spread
from lipflow_dome.cameras import Rig
from lipflow_dome.config import DomeConfig
from lipflow_dome.filming import Film, Performance, chosen, view_cameras
from lipflow_dome.landmarks import landmark_vertices
from lipflow_dome.motion import SPLITS
from lipflow_dome.simulation import simulate

DATA_VERSION = 7
"""Raised whenever the same options would give other frames: caches of older versions are then left alone."""

CACHE_VARIABLE = "LIPFLOW_CORE_CACHE"
"""Environment variable that names the cache folder where the option `cache` does not."""

STATISTICS_FRAMES = 512
"""Training frames, evenly spread, whose vertices give the template's mean and scale."""

TEXTURE_STATISTICS = 96 * 6 * 64**2
"""Texels that the template's texture statistics may shade; at larger sizes fewer frames and cameras are taken."""


@dataclass(frozen=True)
class Truth(Record):
    """What was simulated, for evaluation.

    Args:
        expression: (B, 86) weights of the head's expression units.
        gaze: (B, 2, 2) yaw and pitch of the left and right eye, radians.
        pose: (B, 3, 4) [R|t], head frame → dome.
        slip: (B, 3, 4) [R|t], head frame → a head that the headset sits on perfectly.
        light: (B, 3, 4) of each headset picture: gain, offset, change of gain over the width, over the height.
        background: (B, 3, 3) grey behind each headset picture's middle, its change over the width, over the height.
        noise: (B, 3) standard deviation of each headset picture's noise.
    """

    expression: Tensor
    gaze: Tensor
    pose: Tensor
    slip: Tensor
    light: Tensor
    background: Tensor
    noise: Tensor


class DomeSplit(Split):
    """Frames of one split, read from the packed cache.

    Besides the standard observations it has "truth" (`Truth`).

    Args:
        film: Knows the cameras.
        arrays: Name → memory-mapped array over all frames.
        performance: What the subject did.
    """

    OBSERVATIONS = ("face", "dome", "frontal", "headset", "keypoints", "truth")

    def __init__(self, film: Film, arrays: dict[str, np.ndarray], performance: Performance):
        self.film = film
        self.arrays = arrays
        self.segments: Sequence[str] = performance.segments
        self.numbers = np.tile(np.arange(performance.length, dtype=np.int64), performance.sequences)
        self.cameras: Sequence[str] = film.dome.names

    def load(self, request: FrameRequest) -> Frame:
        indices = np.asarray(request.indices)
        if indices.size and (indices.min() < 0 or indices.max() >= len(self)):
            raise CaptureError(f"frames are numbered 0 to {len(self) - 1}; asked for {indices.max()}")
        return Frame(
            segments=tuple(self.segments[index] for index in indices.tolist()),
            numbers=torch.from_numpy(self.numbers[indices]),
            observations={name: self._observe(name, indices, request.cameras) for name in request.observations},
        )

    def _observe(self, name: str, frames: np.ndarray, cameras: np.ndarray | None) -> Record:
        if name == "face":
            return FaceState(self._read("vertices", frames), self._read("texture", frames))
        if name == "dome":
            if cameras is None:
                raise ValueError("the observation 'dome' needs `cameras` in the FrameRequest")
            return self._dome_views(frames, np.asarray(cameras))
        if name == "frontal":
            return self._dome_views(frames, np.zeros((len(frames), 1), np.int64))
        if name == "headset":
            extrinsics = compose(self.film.headset.extrinsics, self.arrays["slip"][frames].astype(np.float64))
            camera = view_cameras(self.film.headset, extrinsics, self.film.config.headset)
            return Views(self._read("headset", frames), camera, self._read("headset_mask", frames))
        if name == "keypoints":
            frontal = self._dome_camera(frames, np.zeros((len(frames), 1), np.int64))
            camera = frontal.apply(lambda tensor: tensor[:, 0])
            return Keypoints(self._read("points", frames), self._read("visible", frames), camera)
        if name == "truth":
            return Truth(**{field.name: self._read(field.name, frames) for field in fields(Truth)})
        raise CaptureError(f"the dome has no observation '{name}'", f"It has {', '.join(self.OBSERVATIONS)}.")

    def _dome_views(self, frames: np.ndarray, cameras: np.ndarray) -> Views:
        index = (frames[:, None], cameras)
        return Views(self._read("dome", index), self._dome_camera(frames, cameras), self._read("dome_mask", index))

    def _dome_camera(self, frames: np.ndarray, cameras: np.ndarray):
        pose = self.arrays["pose"][frames].astype(np.float64)
        rig: Rig = self.film.dome
        extrinsics = compose(rig.extrinsics, pose)[np.arange(len(frames))[:, None], cameras]
        picked = chosen(rig, cameras)
        return view_cameras(picked, extrinsics, self.film.config.image)

    def _read(self, name: str, index: np.ndarray | tuple[np.ndarray, ...]) -> Tensor:
        values = torch.from_numpy(np.ascontiguousarray(self.arrays[name][index]))
        return values.to(torch.float32).div_(255) if values.dtype == torch.uint8 else values


class DomeCapture(Capture):
    """One person in the dome.

    Example:
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
        """What films the subject, set up on first use."""
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
        """Where this capture's packed cache lies."""
        root = self.config.cache
        if root is None:
            root = Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("lipflow-core")) / "dome"
        return root / f"{self.config.subject[:3]}-{self.identity}"

    def split(self, name: str) -> DomeSplit:
        if name not in SPLITS:
            raise CaptureError(f"the dome has no split '{name}'", f"It has {' and '.join(SPLITS)}.")
        if name not in self._splits:
            store = simulate(self.config, name, self.folder, lambda: self.film)
            self._splits[name] = DomeSplit(self.film, store.open(), Performance(self.config, name))
        return self._splits[name]

    def template(self) -> Template:
        """Mesh, means and scales.

        Statistics are over training frames evenly spread: up to 512 for the vertices, and as many for the texture as
        can be shaded in a second or two. Nothing is drawn for them, and nothing is read from the cache.
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
        )
