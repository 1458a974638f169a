"""Meshes, textures and cameras for the tests of renderers."""

from __future__ import annotations

import importlib
import math
from types import SimpleNamespace

import pytest
import torch
from lipflow_render import lipflow_components

from lipflow_core.plans import RendererInputs
from lipflow_core.records import Camera, Topology

COMPONENTS = {component.name: component for component in lipflow_components()}
RENDERERS = ["torch", "cpu", "warp", pytest.param("warp-cuda", marks=pytest.mark.cuda), "drtk"]
"""Those that must fulfil the contract here; `warp` and `drtk` are skipped where they are not installed."""


class OnCuda:
    """A renderer that draws on the GPU what lies on the CPU, and brings back the rendering."""

    def __init__(self, name: str, options: dict[str, object]):
        self._renderer = make(name, **options)
        self.config = SimpleNamespace(renderer=f"{name}-cuda", **options)

    def __call__(self, *given):
        drawn = self._renderer(*(None if part is None else part.to("cuda") for part in given))
        return drawn.apply(torch.Tensor.cpu)


def make(name: str, **options):
    """A renderer by name; with "-cuda" after it, one that draws on the GPU."""
    if name.endswith("-cuda"):
        return OnCuda(name.removesuffix("-cuda"), options)
    given = RendererInputs(device="cpu", vertices=4, triangles=2, texture=(3, 8, 8))
    config, implementation = (
        getattr(importlib.import_module(module), attribute)
        for module, attribute in (
            path.split(":") for path in (COMPONENTS[name].config, COMPONENTS[name].implementation)
        )
    )
    return implementation(config(**options), given)


def sphere(rows: int = 12, columns: int = 16, radius: float = 50.0, dtype=torch.float64):
    """A closed sphere with a seam in its uv atlas: vertices (V, 3) and topology."""
    ring = [
        (
            radius * math.sin(math.pi * r / rows) * math.cos(2 * math.pi * c / columns),
            radius * math.cos(math.pi * r / rows),
            radius * math.sin(math.pi * r / rows) * math.sin(2 * math.pi * c / columns),
        )
        for r in range(1, rows)
        for c in range(columns)
    ]
    vertices = torch.tensor([*ring, (0.0, radius, 0.0), (0.0, -radius, 0.0)], dtype=dtype)
    top, bottom = len(vertices) - 2, len(vertices) - 1
    uv = torch.tensor(
        [(c / columns, 1 - r / rows) for r in range(rows + 1) for c in range(columns + 1)], dtype=torch.float32
    )

    def vertex(r: int, c: int) -> int:
        return top if r == 0 else bottom if r == rows else (r - 1) * columns + c % columns

    def texel(r: int, c: int) -> int:
        return r * (columns + 1) + c

    triangles, uv_triangles = [], []
    for r in range(rows):
        for c in range(columns):
            corners = [(r, c), (r, c + 1), (r + 1, c + 1), (r + 1, c)]
            halves = [(0, 1, 2), (0, 2, 3)] if 0 < r < rows - 1 else [(0, 2, 3)] if r == 0 else [(0, 1, 3)]
            for half in halves:
                triangles.append([vertex(*corners[i]) for i in half])
                uv_triangles.append([texel(*corners[i]) for i in half])
    return vertices, Topology(torch.tensor(triangles), uv, torch.tensor(uv_triangles))


def quads(*corners: list[list[float]], dtype=torch.float64):
    """Separate quadrilaterals, each of two triangles over the whole texture: vertices and topology."""
    vertices = torch.tensor([corner for quad in corners for corner in quad], dtype=dtype)
    triangles = torch.tensor(
        [[4 * n + i for i in half] for n in range(len(corners)) for half in ((0, 1, 2), (0, 2, 3))]
    )
    uv = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    return vertices, Topology(triangles, uv, triangles % 4)


def rectangle(left: float, top: float, right: float, bottom: float, depth: float) -> list[list[float]]:
    """Corners of a rectangle that faces `straight` cameras."""
    return [[left, top, depth], [right, top, depth], [right, bottom, depth], [left, bottom, depth]]


def straight(height: int, width: int, focal: float, dtype=torch.float64, batch: int = 1) -> Camera:
    """Cameras at the origin that look along z."""
    intrinsics = torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], dtype=dtype)
    extrinsics = torch.eye(3, 4, dtype=dtype)
    return Camera(intrinsics.expand(batch, 3, 3), extrinsics.expand(batch, 3, 4), height, width)


def at(rotation: torch.Tensor, distance: float, height: int, width: int, focal: float) -> Camera:
    """A camera that sees the origin turned by `rotation`, at a distance in millimetres."""
    shift = torch.tensor([[0.0], [0.0], [distance]], dtype=rotation.dtype)
    return Camera(
        straight(height, width, focal, rotation.dtype).intrinsics,
        torch.cat([rotation, shift], dim=1)[None],
        height,
        width,
    )


def smooth(size: int = 32, channels: int = 3, batch: int = 1, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    """Smooth random textures (B, C, T, T) in [0, 1]."""
    coarse = torch.rand(batch, channels, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)


def plain(value: float = 1.0, channels: int = 1, dtype=torch.float64) -> torch.Tensor:
    """A texture of one value."""
    return torch.full((1, channels, 4, 4), value, dtype=dtype)
