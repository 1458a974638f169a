"""The vertices of a mesh that a camera sees, told coarsely without drawing. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lipflow_kit.cameras import compose, positions, project
from lipflow_kit.lenses import distort

from lipflow_multiface.krt import KrtCamera

TILES = 80
"""Rows of square tiles in a picture, in each of which the nearest surface is found."""

BEHIND = 12.0
"""A vertex is hidden if it lies this much behind the nearest surface in its tile, millimetres."""


@dataclass(frozen=True)
class SeenMesh:
    """A mesh as one camera sees it.

    Args:
        places: (V, 2) pixels of the picture, as the lens bends it; meaningless for vertices that are not seen.
        seen: (V,) whether a vertex is on a triangle that faces the camera, and nothing hides it.
        front: (F,) whether a triangle faces the camera and all its corners are seen.
    """

    places: np.ndarray
    seen: np.ndarray
    front: np.ndarray


def see_mesh(
    vertices: np.ndarray, triangles: np.ndarray, camera: KrtCamera, pose: np.ndarray, size: tuple[int, int]
) -> SeenMesh:
    """Project a mesh and tell what a camera sees of it.

    Args:
        vertices: (V, 3) millimetres, head frame.
        triangles: (F, 3).
        camera: The camera, in the world.
        pose: (3, 4) [R|t], head → world.
        size: Height and width of the picture. Vertices more than one picture beside it count as not seen.
    """
    vertices = vertices.astype(np.float64)
    extrinsics = compose(camera.extrinsics[None], pose[None])[0, 0]
    places, away = project(vertices, camera.intrinsics, extrinsics)
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    front = np.einsum("fd,fd->f", np.cross(b - a, c - a), positions(extrinsics) - a) > 0
    facing = np.zeros(len(vertices), bool)
    facing[triangles[front].ravel()] = True
    bent = distort(places, camera.intrinsics, camera.distortion)
    near = (np.abs(bent) < 4 * max(size)).all(1)  # a lens model may send points beside the picture anywhere
    seen = facing & near & (away > 0) & ~_hidden(places, away, triangles[front], size)
    return SeenMesh(bent, seen, front & seen[triangles].all(1))


def _hidden(places: np.ndarray, away: np.ndarray, front: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Tell which vertices (V,) lie behind the triangles `front` (F, 3), or too far beside the picture to be told."""
    # A coarse depth map: enough to tell the inside of a mouth from the lips before it.
    weights = np.stack([part.ravel() for part in np.meshgrid(*[np.linspace(0, 1, 5)] * 2)], axis=1)
    weights = weights[weights.sum(1) <= 1]
    weights = np.concatenate([weights, 1 - weights.sum(1, keepdims=True)], axis=1)
    tile = size[0] / TILES
    width = int(np.ceil(size[1] / tile))
    nearest = np.full((3 * width, 3 * TILES), np.inf)

    def tiles(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find each point's tile, column and row, up to one picture beyond each edge, and whether it lies on one."""
        with np.errstate(invalid="ignore"):
            found = np.floor(points / tile) + np.array([width, TILES])
            inside = ((found >= 0) & (found < nearest.shape)).all(-1)
        return np.where(inside[..., None], found, 0).astype(np.int64), inside

    sampled, inside = tiles(np.einsum("wk,fkd->fwd", weights, places[front]))
    depths = np.einsum("wk,fk->fw", weights, away[front])
    inside &= depths > 0
    np.minimum.at(nearest, tuple(sampled[inside].T), depths[inside])
    own, within = tiles(places)
    return ~within | (away >= nearest[tuple(own.T)] + BEHIND)
