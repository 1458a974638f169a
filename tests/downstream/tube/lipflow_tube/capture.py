"""The capture `tube`: simulated in memory, in under a second at its default size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from lipflow_kit.cameras import enlarge, look_at
from torch import Tensor

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import Capture, FrameRequest, Split
from lipflow_core.plans import CaptureInputs
from lipflow_core.records import Camera, FaceState, Frame, Keypoints, Template, Views, luminance

from .config import PROBES, RINGS, SECTORS, TubeConfig
from .shape import LENGTH, Posture, bend, colour, mesh

DATA_VERSION = 1
"""Raised whenever the same options would give other frames."""

SPLITS = ("train", "held-out")

SUPERSAMPLING = 2
"""Pictures are drawn this many times as large and box-filtered."""

DISTANCE, PROBE_DISTANCE = 700.0, 260.0
"""Millimetres from the middle of the tube to the calibrated cameras, and to the probe's."""

MARGIN = 1.3
"""Height of the pictures at the tube's distance over the tube's length."""


class TubeSplit(Split):
    """The frames of one split, held in memory.

    Args:
        frame: All frames with all observations.
        cameras: Names of the cameras of the ring.
    """

    def __init__(self, frame: Frame, cameras: Sequence[str]):
        self.segments, self.numbers, self.cameras = frame.segments, frame.numbers.numpy(), cameras
        self._frame = frame

    def load(self, request: FrameRequest) -> Frame:
        """Take the frames and observations that are asked for."""
        rows = self._frame.rows(torch.from_numpy(np.asarray(request.indices)))
        observations = {name: rows[name] for name in request.observations}
        if "ring" in observations:
            row, chosen = torch.arange(len(rows))[:, None], torch.from_numpy(np.asarray(request.cameras))
            observations["ring"] = observations["ring"].apply(lambda tensor: tensor[row, chosen])
        return Frame(rows.segments, rows.numbers, observations)


class TubeCapture(Capture):
    """A tube on a stand that bends, twists and swells.

    Example:
        >>> split = TubeCapture(TubeConfig(), CaptureInputs()).split("held-out")
        >>> split.load(FrameRequest(np.arange(2), ("probe",)))["probe"].images.shape
        torch.Size([2, 2, 1, 24, 32])
    """

    def __init__(self, config: TubeConfig, given: CaptureInputs):
        super().__init__(config, given)
        self.topology, self._angle, self._share = mesh()
        self.landmarks = (torch.arange(0, RINGS, 3)[:, None] * SECTORS + torch.arange(0, SECTORS, 4)).flatten()
        self._renderer = config.renderer.build(config.renderer_inputs)
        self._splits: dict[str, TubeSplit] = {}

    @property
    def identity(self) -> str:
        """Hash of all options."""
        text = f"tube {DATA_VERSION} {self.config.model_dump_json()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def template(self) -> Template:
        """Take means and scales over all training frames."""
        frames = self.split("train")
        surface: FaceState = frames.load(FrameRequest(np.arange(len(frames)), ("surface",)))["surface"]
        vertices, texture = surface.vertices.mean(dim=0), surface.texture.mean(dim=0)
        return Template(
            topology=self.topology,
            vertices_mean=vertices,
            vertices_scale=(surface.vertices - vertices).square().mean().sqrt(),
            texture_mean=texture,
            texture_scale=(surface.texture - texture).square().mean().sqrt(),
            landmarks=self.landmarks,
        )

    def split(self, name: str) -> TubeSplit:
        """Simulate a split on first use."""
        if name not in SPLITS:
            raise CaptureError(f"the tube has no split '{name}'", f"It has {' and '.join(SPLITS)}.")
        if name not in self._splits:
            cameras = tuple(f"ring-{index}" for index in range(self.config.cameras))
            self._splits[name] = TubeSplit(self._film(name), cameras)
        return self._splits[name]

    @torch.no_grad()
    def _film(self, split: str) -> Frame:
        """Simulate all frames of a split, with all observations."""
        config = self.config
        sequences = config.sequences if split == "train" else config.held_out_sequences
        length = config.frames_per_sequence
        generators = [np.random.default_rng([config.seed, 1 + SPLITS.index(split), i]) for i in range(sequences)]
        posture = Posture.join([Posture.draw(generator, length) for generator in generators])
        vertices, normals = bend(posture, self._angle, self._share)
        ring, side, probe = self._ring(), self._side(), self._probe()
        textures = self._textures(posture, ring)
        seen = self._draw(vertices, self._textures(posture, side), side)
        return Frame(
            segments=tuple(f"{split}-{sequence:03d}" for sequence in range(sequences) for _ in range(length)),
            numbers=torch.arange(length).repeat(sequences),
            observations={
                "surface": FaceState(vertices, reduce(textures, "b n c h w -> b c h w", "mean")),
                "ring": self._draw(vertices, textures, ring),
                "side": seen,
                "probe": self._spoil(self._draw(vertices, self._textures(posture, probe), probe), generators),
                "markers": self._mark(vertices, normals, seen.camera.apply(lambda tensor: tensor[:, 0])),
            },
        )

    def _spoil(self, views: Views, generators: Sequence[np.random.Generator]) -> Views:
        """Make pictures poor: grey, with a gain, an offset and noise; drawn from a generator for each sequence."""
        length = self.config.frames_per_sequence
        light = np.concatenate([generator.normal(size=(length, PROBES, 2)) for generator in generators])
        noise = np.concatenate([generator.normal(size=(length, *views.mask.shape[1:])) for generator in generators])
        gain, offset = torch.from_numpy(light).float()[..., None, None, None].unbind(dim=2)
        grain = self.config.probe_noise * torch.from_numpy(noise).float()[:, :, None]
        images = luminance(views.images) * (0.1 * gain).exp() + 0.02 * offset + grain
        return Views(images.clamp(0, 1), views.camera, views.mask)

    def _mark(self, vertices: Tensor, normals: Tensor, camera: Camera) -> Keypoints:
        """Mark the landmarks in one picture; visible are those within it on the side that faces the camera."""
        places, facing = vertices[:, self.landmarks], normals[:, self.landmarks]
        points, _ = camera.project(places)
        last = points.new_tensor([camera.width - 1, camera.height - 1])
        inside = ((points >= 0) & (points <= last)).all(dim=-1)
        near = ((camera.position[:, None] - places) * facing).sum(dim=-1) > 0
        return Keypoints(points, (inside & near).float(), camera)

    def _textures(self, posture: Posture, cameras: Camera) -> Tensor:
        """The texture that each of N cameras sees, (B, N, 3, T, T)."""
        return colour(posture, self.config.seed, self.config.texture, cameras.position)

    def _draw(self, vertices: Tensor, textures: Tensor, cameras: Camera) -> Views:
        """Draw vertices (B, V, 3) with textures (B, N, 3, T, T) for N cameras."""
        count, views = textures.shape[:2]
        every = cameras.apply(lambda tensor: tensor.expand(count, *tensor.shape))
        fine = Camera(
            torch.from_numpy(enlarge(every.intrinsics.numpy(), SUPERSAMPLING)),
            every.extrinsics,
            cameras.height * SUPERSAMPLING,
            cameras.width * SUPERSAMPLING,
        )
        drawn = self._renderer(
            repeat(vertices, "b v xyz -> (b n) v xyz", n=views),
            rearrange(textures, "b n c h w -> (b n) c h w"),
            self.topology,
            fine.flatten(),
        )
        reduced = {"n": views, "y": SUPERSAMPLING, "x": SUPERSAMPLING}
        images = reduce(drawn.image, "(b n) c (h y) (w x) -> b n c h w", "mean", **reduced)
        mask = reduce(drawn.coverage, "(b n) (h y) (w x) -> b n h w", "mean", **reduced)
        return Views(images.clamp(0, 1), every, mask)

    # The cameras. They stand still, and so does the lower end of the tube.

    def _ring(self) -> Camera:
        angles = 2 * np.pi * np.arange(self.config.cameras) / self.config.cameras
        heights = np.where(np.arange(self.config.cameras) % 2, 0.3, -0.1)
        return _cameras(np.stack([np.sin(angles), heights, np.cos(angles)], axis=1), DISTANCE, self.config.image)

    def _side(self) -> Camera:
        return _cameras(np.array([[0.5, 0.1, 0.9]]), DISTANCE, self.config.image)

    def _probe(self) -> Camera:
        return _cameras(np.array([[-0.6, -0.2, 0.8], [0.7, 0.2, 0.8]]), PROBE_DISTANCE, self.config.probe)


def _cameras(directions: np.ndarray, distance: float, size: tuple[int, int]) -> Camera:
    """Cameras that look at the middle of the tube.

    Args:
        directions: (N, 3) from the middle to each camera.
        distance: Millimetres from the middle.
        size: (height, width) of the pictures.
    """
    height, width = size
    focal = distance * height / (MARGIN * LENGTH)
    intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    places = distance * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    extrinsics = np.stack([look_at(place, np.zeros(3)) for place in places])
    every = np.repeat(intrinsics[None], len(places), axis=0)
    return Camera(torch.from_numpy(every).float(), torch.from_numpy(extrinsics).float(), height, width)
