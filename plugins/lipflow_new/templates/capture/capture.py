"""Capture `skeleton-name`: a mask that puffs, twists and blushes, filmed by cameras on an arc."""

from __future__ import annotations

import hashlib
import json
import math
from functools import cached_property

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import Capture, FrameRequest, Split
from lipflow_core.plans import CaptureInputs
from lipflow_core.records import Camera, FaceState, Frame, Keypoints, Template, Topology, Views

from .config import SkeletonConfig

DISTANCE = 400.0
"""Millimetres from the cameras to the head's origin."""


class Skeleton(Capture):
    """A curved grid with two degrees of freedom, each a smooth function of time that differs from segment to segment.

    Args:
        config: Its options.
        given: Nothing yet.
    """

    def __init__(self, config: SkeletonConfig, given: CaptureInputs):
        super().__init__(config, given)
        self.renderer = config.renderer.build(config.drawing)
        self.camera = arc_of_cameras(config.cameras, config.image)
        self.topology = grid_topology(config.grid)
        every_other = torch.arange(0, config.grid, 2)
        self.landmarks = (every_other[:, None] * config.grid + every_other).reshape(-1)

    def split(self, name: str) -> Split:
        segments = self.config.segments
        ranges = {"train": range(segments), "held-out": range(segments, segments + math.ceil(segments / 4))}
        if name not in ranges:
            raise CaptureError(f"capture 'skeleton-name' has no split '{name}'; it has {', '.join(ranges)}")
        return SkeletonSplit(self, ranges[name])

    @cached_property
    def _template(self) -> Template:
        face = self.face(self.split("train").motion)
        return Template(
            topology=self.topology,
            vertices_mean=face.vertices.mean(0),
            vertices_scale=(face.vertices - face.vertices.mean(0)).std(),
            texture_mean=face.texture.mean(0),
            texture_scale=(face.texture - face.texture.mean(0)).std(),
            landmarks=self.landmarks,
        )

    def template(self) -> Template:
        return self._template

    @property
    def identity(self) -> str:
        said = json.dumps(self.config.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(f"skeleton-name 1 {said}".encode()).hexdigest()[:16]

    def face(self, motion: Tensor) -> FaceState:
        """The mask in millimetres and its texture in [0, 1]; motion: (B, 2) in [−1, 1], puff and twist."""
        puff, twist = rearrange(motion, "b two -> two b 1")
        u, v = self.topology.uv.unbind(-1)
        x, y = 2 * u - 1, 2 * v - 1
        radius = x.square() + y.square()
        angle = 0.3 * twist * (1 - radius / 2)
        vertices = torch.stack(
            [
                80 * (x * angle.cos() - y * angle.sin()),
                80 * (x * angle.sin() + y * angle.cos()),
                60 * (1 - radius / 2) + 15 * puff * (-4 * radius).exp(),
            ],
            dim=-1,
        )
        side = torch.linspace(-1, 1, self.config.texture)
        column, row = torch.meshgrid(side, -side, indexing="xy")
        spots = 0.5 + 0.25 * torch.stack([(6 * column).sin(), (5 * row).cos(), (4 * column + 3 * row).sin()])
        blush = torch.tensor([0.2, -0.1, -0.1])[:, None, None] * (-3 * (column.square() + row.square())).exp()
        texture = spots + rearrange(puff, "b 1 -> b 1 1 1") * blush
        return FaceState(vertices, texture.clamp(0, 1))

    def views(self, face: FaceState, camera: Camera) -> Views:
        """Pictures of B faces from cameras with leading axes (B, N)."""
        batch, count = camera.extrinsics.shape[:2]
        made = self.renderer(
            repeat(face.vertices, "b v xyz -> (b n) v xyz", n=count),
            repeat(face.texture, "b c h w -> (b n) c h w", n=count),
            self.topology,
            camera.flatten(),
        )
        return Views(
            made.image.unflatten(0, (batch, count)).clamp(0, 1), camera, made.coverage.unflatten(0, (batch, count))
        )


class SkeletonSplit(Split):
    """Some of the segments.

    Args:
        capture: Whose they are.
        segments: Their numbers.
    """

    def __init__(self, capture: Skeleton, segments: range):
        frames = capture.config.frames
        self.capture = capture
        self.segments = [f"EXP_{segment:03d}" for segment in segments for _ in range(frames)]
        self.numbers = np.tile(np.arange(frames), len(segments))
        self.cameras = [f"{index:03d}" for index in range(capture.config.cameras)]
        self.motion = torch.cat([segment_motion(capture.config.seed, segment, frames) for segment in segments])

    def load(self, request: FrameRequest) -> Frame:
        capture, index = self.capture, torch.as_tensor(request.indices)
        with torch.no_grad():
            face = capture.face(self.motion[index])
            middle = torch.full((len(index), 1), len(self.cameras) // 2)
            made = {}
            for name in request.observations:
                match name:
                    case "face":
                        made[name] = face
                    case "dome":
                        made[name] = capture.views(face, _chosen(capture.camera, torch.as_tensor(request.cameras)))
                    case "frontal":
                        made[name] = capture.views(face, _chosen(capture.camera, middle))
                    case "keypoints":
                        camera = _chosen(capture.camera, middle[:, 0])
                        points, _ = camera.project(face.vertices[:, capture.landmarks])
                        made[name] = Keypoints(points, torch.ones_like(points[..., 0]), camera)
                    case _:
                        raise CaptureError(f"capture 'skeleton-name' has no observation '{name}'")
        return Frame(tuple(self.segments[i] for i in index), torch.as_tensor(self.numbers)[index], made)


def segment_motion(seed: int, segment: int, frames: int) -> Tensor:
    """Puff and twist of each frame of a segment, (frames, 2) in [−1, 1]."""
    random = np.random.default_rng([seed, segment])
    speed, phase = random.uniform(0.5, 2.0, 2), random.uniform(0, 2 * np.pi, 2)
    time = np.linspace(0, np.pi, frames)[:, None]
    return torch.as_tensor(np.sin(speed * time + phase), dtype=torch.float32)


def grid_topology(side: int) -> Topology:
    """Triangles of a square grid, row by row from the bottom; uv is the grid itself."""
    corner = torch.arange(side * side).view(side, side)
    a, b, c, d = (part.reshape(-1) for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]))
    triangles = torch.cat([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)])
    place = torch.linspace(0, 1, side)
    v, u = torch.meshgrid(place, place, indexing="ij")
    return Topology(triangles, torch.stack([u, v], dim=-1).reshape(-1, 2), triangles.clone())


def arc_of_cameras(count: int, size: int) -> Camera:
    """Cameras on a horizontal arc of ±45° in front of the head, all looking at its origin; leading axis (N,)."""
    angles = torch.linspace(-math.pi / 4, math.pi / 4, count) if count > 1 else torch.zeros(1)
    cos, sin, zero, one = angles.cos(), angles.sin(), torch.zeros(count), torch.ones(count)
    turn = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=-1).view(count, 3, 3)
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    shift = torch.tensor([0.0, 0.0, DISTANCE]).expand(count, 3)[..., None]
    focal, centre = 1.8 * size, (size - 1) / 2
    intrinsics = torch.tensor([[focal, 0, centre], [0, focal, centre], [0, 0, 1]])
    return Camera(intrinsics.expand(count, 3, 3), torch.cat([upright @ turn, shift], dim=-1), size, size)


def _chosen(camera: Camera, index: Tensor) -> Camera:
    return camera.apply(lambda tensor: tensor[index])
