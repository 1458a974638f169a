"""Makes the content of the kit's own world, a spherical head: numbers, meshes, cameras and frames, by seed."""

from __future__ import annotations

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


def sphere(dtype: torch.dtype = torch.float32, subdivisions: int = 1) -> tuple[Tensor, Topology]:
    """Make a closed mesh, a subdivided icosahedron of radius 80 mm; one subdivision gives 42 vertices, 80 triangles.

    Returns:
        Vertices (V, 3), and the topology with uv from a planar projection.
    """
    golden = (1 + 5**0.5) / 2
    signs = [(0.0, s, t * golden) for s in (-1.0, 1.0) for t in (-1.0, 1.0)]
    corners = [signed[i:] + signed[:i] for signed in signs for i in range(3)]
    points = [torch.tensor(c, dtype=torch.float64) for c in corners]
    edge = 2.0
    triangles = [
        (i, j, k)
        for i in range(12)
        for j in range(i + 1, 12)
        for k in range(j + 1, 12)
        if all(abs(float((points[a] - points[b]).norm()) - edge) < 1e-6 for a, b in ((i, j), (j, k), (i, k)))
    ]
    for _ in range(subdivisions):
        middles: dict[tuple[int, int], int] = {}
        finer = []
        for a, b, c in triangles:
            ends = []
            for i, j in ((a, b), (b, c), (c, a)):
                key = (min(i, j), max(i, j))
                if key not in middles:
                    middles[key] = len(points)
                    points.append((points[i] + points[j]) / 2)
                ends.append(middles[key])
            ab, bc, ca = ends
            finer += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        triangles = finer
    vertices = torch.nn.functional.normalize(torch.stack(points), dim=-1) * 80.0
    faces = torch.tensor(triangles)
    corners_of = vertices[faces]
    normals = torch.linalg.cross(corners_of[:, 1] - corners_of[:, 0], corners_of[:, 2] - corners_of[:, 0])
    inward = (normals * corners_of.mean(1)).sum(-1) < 0
    faces[inward] = faces[inward].flip(-1)
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
