"""Makes the content of the kit's own world, a spherical head: numbers, meshes, cameras and frames, by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lipflow_core.records import Camera, Encoding, FaceState, Frame, Keypoints, Template, Topology, Views
from lipflow_core.registry import default_registry

CODE = 6
FEATURES = 10
VERTICES = 42
TRIANGLES = 80
TEXTURE = 32
LANDMARKS = 12
VIEWS = {"training_views": (2, 3, 32, 32), "scored_view": (1, 3, 32, 32), "driving_views": (3, 1, 24, 32)}
"""Use of the pictures → number of views, channels, height and width."""


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw standard normal numbers by seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def uniform(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw uniform numbers in [0, 1) by seed."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def sphere(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Topology]:
    """Make a closed mesh: five rings of eight vertices and two poles on a sphere of radius 80 mm.

    Returns:
        Vertices (42, 3), and the topology of 80 triangles with uv from a planar projection.
    """
    polar, around = torch.arange(1, 6)[:, None] * (math.pi / 6), torch.arange(8) * (math.pi / 4)
    rings = torch.stack([polar.sin() * around.sin(), polar.cos().expand(5, 8), polar.sin() * around.cos()], dim=-1)
    vertices = 80.0 * torch.cat([rings.flatten(0, 1), torch.tensor([[0.0, 1, 0], [0.0, -1, 0]])])
    here = torch.arange(40).view(5, 8)
    next_to = here.roll(-1, dims=1)
    north, south = torch.full((8,), 40), torch.full((8,), 41)
    corners = (
        (here[:-1], here[1:], next_to[1:]),
        (here[:-1], next_to[1:], next_to[:-1]),
        (north, here[0], next_to[0]),
        (south, next_to[-1], here[-1]),
    )
    faces = torch.cat([torch.stack(corner, dim=-1).view(-1, 3) for corner in corners])
    uv = vertices[:, :2] / 180.0 + 0.5
    return vertices.to(dtype), Topology(faces, uv.to(dtype), faces.clone())


def template(dtype: torch.dtype = torch.float32) -> Template:
    """Make the template of a spherical head."""
    vertices, topology = sphere(dtype)
    return Template(
        topology=topology,
        vertices_mean=vertices,
        vertices_scale=torch.tensor(3.0, dtype=dtype),
        texture_mean=uniform(1, 3, TEXTURE, TEXTURE, dtype=dtype),
        texture_scale=torch.tensor(0.2, dtype=dtype),
        landmarks=torch.arange(LANDMARKS),
    )


def cameras(batch: int, views: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> Camera:
    """Make cameras 400 mm in front of the head, side by side, that see the whole sphere; leading axes (B, N)."""
    focal = 1.6 * min(height, width)
    intrinsics = torch.tensor(
        [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], dtype=dtype
    ).expand(batch, views, 3, 3)
    angles = torch.linspace(-0.4, 0.4, views, dtype=dtype) if views > 1 else torch.zeros(views, dtype=dtype)
    cos, sin, zero, one = angles.cos(), angles.sin(), torch.zeros_like(angles), torch.ones_like(angles)
    turn = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=-1).reshape(views, 3, 3)
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=dtype))
    extrinsics = torch.cat([upright @ turn, torch.tensor([0.0, 0, 400], dtype=dtype).expand(views, 3)[..., None]], -1)
    return Camera(intrinsics, extrinsics.expand(batch, views, 3, 4), height, width)


def frame(
    batch: int, *, seed: int = 0, dtype: torch.dtype = torch.float32, names: Mapping[str, str] | None = None
) -> Frame:
    """Make frames of random content.

    Args:
        batch: Number of samples.
        seed: Seed of the content.
        dtype: Type of all real numbers.
        names: Names of the observations by their use, "surface", "training_views", "scored_view", "driving_views" and
            "keypoints"; those of the registry's default `observations` if None.
    """
    names = default_registry().default("observations") if names is None else names
    mean = template(dtype)
    vertices = mean.vertices_mean + 3.0 * normal(seed, batch, VERTICES, 3, dtype=dtype)
    camera = cameras(batch, 1, 32, 32, dtype).apply(lambda tensor: tensor[:, 0])
    observations: dict[str, Any] = {
        names["surface"]: FaceState(vertices, uniform(seed + 1, batch, 3, TEXTURE, TEXTURE, dtype=dtype)),
        names["keypoints"]: Keypoints(
            points=camera.project(vertices[:, mean.landmarks])[0],
            visible=torch.ones(batch, LANDMARKS, dtype=dtype),
            camera=camera,
        ),
    }
    for offset, (use, (views, channels, height, width)) in enumerate(VIEWS.items()):
        observations[names[use]] = Views(
            images=uniform(seed + 3 + offset, batch, views, channels, height, width, dtype=dtype),
            camera=cameras(batch, views, height, width, dtype),
            mask=torch.ones(batch, views, height, width, dtype=dtype),
        )
    return Frame(
        segments=tuple(f"KIT_{i}" for i in range(batch)), numbers=torch.arange(batch), observations=observations
    )


def encoding(batch: int, *, seed: int = 0, dtype: torch.dtype = torch.float32, code: int = CODE) -> Encoding:
    """Make an encoding of random content."""
    return Encoding(
        mean=normal(seed, batch, code, dtype=dtype),
        log_std=0.3 * normal(seed + 1, batch, code, dtype=dtype) - 0.5,
        features=normal(seed + 2, batch, FEATURES, dtype=dtype),
    )
