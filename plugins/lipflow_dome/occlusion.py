"""Openness to light of each vertex: eye sockets, nostrils and mouth are dark, and an open jaw lets light in.

Openness is the share of the light from all directions, weighted by the cosine to the normal, that reaches a vertex. It
was computed for the mean identity, neutral and with each expression unit at full weight, from depth maps in many
directions. It is stored as a base and one change for each unit; a combination of units is the sum of their changes.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from lipflow_kit.cameras import look_at

from lipflow_core.interfaces import Renderer
from lipflow_core.records import Camera
from lipflow_dome.atlas import topology
from lipflow_dome.head import Asset, data_file, load_asset

STEPS = 127
"""Changes are stored as int8 in units of 1/127."""


@functools.cache
def load_occlusion() -> tuple[np.ndarray, np.ndarray]:
    """Read the openness (V,) of the neutral face in [0, 1] and its change (E, V) by each unit at weight 1; float32."""
    with data_file("occlusion.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return arrays["base"].astype(np.float32) / 255, arrays["changes"].astype(np.float32) / STEPS


def bake_occlusion(renderer: Renderer, directions: int = 64, resolution: int = 320) -> dict[str, np.ndarray]:
    """Compute the arrays of data/occlusion.npz.

    Args:
        renderer: Renderer that draws the depth maps.
        directions: Number of directions of the light.
        resolution: Height and width of a depth map in pixels.
    """
    asset = load_asset()
    units = asset.expression_deltas
    base = openness(asset, asset.vertices, renderer, directions, resolution)
    changes = np.zeros((len(units), len(base)))
    for index, name in enumerate(asset.expression_names):
        start = asset.vertices
        before = base
        if name in ("tongueOut", "mouthClose"):  # both act in an open mouth
            start = start + 0.6 * units[asset.expression_names.index("jawOpen")]
            before = openness(asset, start, renderer, directions, resolution)
        weight = 0.6 if name == "mouthClose" else 1.0
        after = openness(asset, start + weight * units[index], renderer, directions, resolution)
        changes[index] = (after - before) / weight
    changes[np.abs(changes) < 0.03] = 0
    return {
        "base": np.rint(base * 255).astype(np.uint8),
        "changes": np.rint(np.clip(changes, -1, 1) * STEPS).astype(np.int8),
    }


def openness(asset: Asset, vertices: np.ndarray, renderer: Renderer, directions: int, resolution: int) -> np.ndarray:
    """Compute the share of the light from all directions that reaches each vertex; (V,) in [0, 1]."""
    index = np.arange(directions) + 0.5
    height, turn = 1 - 2 * index / directions, np.pi * (1 + 5**0.5) * index
    around = np.sqrt(1 - height**2)
    toward = np.stack([around * np.cos(turn), height, around * np.sin(turn)], 1)
    normals = vertex_normals(asset, vertices)
    center, distance, extent = np.array([0.0, -15.0, -20.0]), 4000.0, 340.0
    focal = resolution * distance / extent
    middle = (resolution - 1) / 2
    intrinsics = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
    points = vertices + 1.0 * normals  # a little off the surface, lest it shadow itself
    mesh = torch.from_numpy(vertices[None].astype(np.float32))
    texture = torch.zeros(1, 1, 2, 2)
    connectivity = topology()
    received, possible = np.zeros(len(vertices)), np.zeros(len(vertices))
    for direction in toward:
        extrinsics = look_at(center + distance * direction, center)
        camera = Camera(
            torch.from_numpy(intrinsics[None]).float(),
            torch.from_numpy(extrinsics[None]).float(),
            resolution,
            resolution,
        )
        with torch.inference_mode():
            depth = renderer(mesh, texture, connectivity, camera).depth[0].numpy()
        seen = points @ extrinsics[:, :3].T + extrinsics[:, 3]
        x, y = (np.clip(np.rint(seen[:, k] / seen[:, 2] * focal + middle), 0, resolution - 1) for k in (0, 1))
        nearest = depth[y.astype(np.int64), x.astype(np.int64)]
        cosine = np.maximum(normals @ direction, 0)
        received += cosine * ((nearest == 0) | (seen[:, 2] < nearest + 1.5))
        possible += cosine
    return _smooth(asset, received / np.maximum(possible, 1e-9))


def vertex_normals(asset: Asset, vertices: np.ndarray) -> np.ndarray:
    """Give the unit normals (V, 3) of a mesh (V, 3), float64."""
    a, b, c = (vertices[asset.triangles[:, k]] for k in range(3))
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, asset.triangles[:, k], np.cross(b - a, c - a))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def _smooth(asset: Asset, values: np.ndarray) -> np.ndarray:
    """Average each vertex with its neighbours once, which smooths the steps of a finite number of directions."""
    edges = np.concatenate([asset.triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    edges = np.concatenate([edges, edges[:, ::-1]])
    total = np.bincount(edges[:, 0], values[edges[:, 1]], minlength=len(values))
    count = np.maximum(np.bincount(edges[:, 0], minlength=len(values)), 1)
    return 0.5 * values + 0.5 * total / count
