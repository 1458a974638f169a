"""The globe's frames."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import torch
from einops import rearrange, repeat
from globe import CAMERAS, LANDMARKS, TEXTURE
from lipflow_render.config import TorchRendererConfig
from lipflow_render.oracle import TorchRenderer

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import Capture, FrameRequest, Split
from lipflow_core.plans import RendererInputs
from lipflow_core.records import Camera, FaceState, Frame, Keypoints, Template, Views, luminance
from lipflow_core.testing import inputs


class GlobeSplit(Split):
    def __init__(self, frame: Frame, cameras: int):
        self.segments = frame.segments
        self.numbers = frame.numbers.numpy()
        self.cameras = tuple(f"camera-{i}" for i in range(cameras))
        self._frame = frame

    def load(self, request: FrameRequest) -> Frame:
        rows = self._frame.rows(torch.from_numpy(np.asarray(request.indices)))
        observations = {name: rows[name] for name in request.observations}
        if "dome" in observations:
            row, chosen = torch.arange(len(rows))[:, None], torch.from_numpy(np.asarray(request.cameras))
            observations["dome"] = observations["dome"].apply(lambda tensor: tensor[row, chosen])
        return Frame(rows.segments, rows.numbers, observations)


class GlobeCapture(Capture):
    def __init__(self, config, given):
        super().__init__(config, given)
        film = make_film(self.config.frames, self.config.seed)
        if self.config.broken is not None:
            film["train"] = film["train"].apply(torch.clone)
            film["train"]["headset"].images[self.config.broken, 1, 0, 3, 4] = float("nan")
        self._film = film

    def template(self) -> Template:
        face = self._film["train"]["face"]
        return Template(
            topology=inputs.sphere()[1],
            vertices_mean=face.vertices.mean(0),
            vertices_scale=(face.vertices - face.vertices.mean(0)).std(),
            texture_mean=face.texture.mean(0),
            texture_scale=(face.texture - face.texture.mean(0)).std(),
            landmarks=torch.arange(LANDMARKS),
        )

    def split(self, name: str) -> Split:
        if name not in self._film:
            raise CaptureError(f"the globe has no split '{name}'")
        film = self._film[name]
        return GlobeSplit(film.rows(torch.arange(0)) if name == self.config.empty else film, CAMERAS)

    @property
    def identity(self) -> str:
        return hashlib.sha256(self.config.model_dump_json().encode()).hexdigest()[:16]


def make_film(frames: int, seed: int) -> dict[str, Frame]:
    """Both splits, drawn once in each process."""
    return {"train": _film("EXP_free", frames, seed), "held-out": _film("EXP_ROM", 8, seed + 1000)}


@lru_cache
def _film(segment: str, count: int, seed: int) -> Frame:
    mean, _ = inputs.sphere()
    factors = inputs.normal(seed, count, 3)
    swell = 1 + 0.08 * torch.tanh(factors @ (mean.T / 80))
    x = torch.linspace(0, 3, TEXTURE)
    pattern = torch.stack([torch.sin(x[:, None] * (i + 1) + x) for i in range(3)])
    tint = 0.15 * torch.tanh(rearrange(factors, "b c -> b c 1 1"))
    face = FaceState(mean * swell[..., None], 0.5 + 0.2 * pattern + tint * pattern.roll(1, 0))
    frontal, headset = _draw(face, inputs.cameras(count, 1, 32, 32)), _draw(face, inputs.cameras(count, 3, 24, 32))
    camera = frontal.camera.apply(lambda tensor: tensor[:, 0])
    points, _ = camera.project(face.vertices[:, :LANDMARKS])
    return Frame(
        segments=tuple(f"{segment}_{i // 4}" for i in range(count)),
        numbers=torch.arange(count),
        observations={
            "face": face,
            "dome": _draw(face, inputs.cameras(count, CAMERAS, 32, 32)),
            "frontal": frontal,
            "headset": Views(luminance(headset.images), headset.camera, headset.mask),
            "keypoints": Keypoints(points, torch.ones(count, LANDMARKS), camera),
        },
    )


def _draw(face: FaceState, camera: Camera) -> Views:
    given = RendererInputs(device="cpu", vertices=42, triangles=80, texture=(3, TEXTURE, TEXTURE))
    renderer = TorchRenderer(TorchRendererConfig(), given)
    views = camera.extrinsics.shape[1]
    with torch.no_grad():
        rendering = renderer(
            repeat(face.vertices, "b v c -> (b n) v c", n=views),
            repeat(face.texture, "b c h w -> (b n) c h w", n=views),
            inputs.sphere()[1],
            camera.flatten(),
        )
    images = rendering.image.clamp(0, 1).unflatten(0, (-1, views))
    return Views(images, camera, torch.ones(*images.shape[:2], *images.shape[3:]))
