"""The skin's state at each texel: where it is, which way it faces, how it is compressed, shadowed and flushed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipflow_dome.atlas import Texels
from lipflow_dome.head import Head


@dataclass(frozen=True)
class Look:
    """What an expression does to the look of each texel.

    Args:
        open: (B, C) share of the surroundings that light reaches it from.
        tint: (B, C, 3) factor on the albedo: flush, pallor, dark folds.
        tilt: (B, C, 3) added to the normal: wrinkles.
    """

    open: np.ndarray
    tint: np.ndarray
    tilt: np.ndarray

    def bend(self, normals: np.ndarray) -> np.ndarray:
        """Normals (B, C, 3) with the wrinkles' slopes."""
        bent = normals + self.tilt
        return bent / np.linalg.norm(bent, axis=-1, keepdims=True)


class Surface:
    """Geometry of one head's surface at the texels of its texture.

    Args:
        head: The head.
        texels: Which triangle lies under each texel.
    """

    def __init__(self, head: Head, texels: Texels):
        asset = head.asset
        self.triangles = asset.triangles
        self.corners = asset.triangles[texels.triangle]
        self.barycentric = texels.barycentric.astype(np.float32)
        self.incident = _incident_triangles(asset.triangles, len(head.neutral))
        self.part = np.array(asset.part_names)[asset.part[texels.triangle]]
        self.anchors = asset.anchors
        neutral = head.neutral[None].astype(np.float32)
        self.rest_area = self._vertex_areas(self._face_normals(neutral))[0]

    def _face_normals(self, vertices: np.ndarray) -> np.ndarray:
        """Normals (B, F + 1, 3) as long as twice each triangle's area; the last one is 0, for padding."""
        a, b, c = (vertices[:, self.triangles[:, k]] for k in range(3))
        normals = np.empty((len(vertices), len(self.triangles) + 1, 3), np.float32)
        normals[:, :-1] = np.cross(b - a, c - a)
        normals[:, -1] = 0
        return normals

    def _vertex_areas(self, face_normals: np.ndarray) -> np.ndarray:
        areas = np.linalg.norm(face_normals, axis=-1)
        return areas[:, self.incident].sum(2)

    def _lerp(self, values: np.ndarray) -> np.ndarray:
        """Values at vertices (B, V, …) → at texels (B, C, …)."""
        weights = self.barycentric.reshape(*self.barycentric.shape, *[1] * (values.ndim - 2))
        return sum(values[:, self.corners[:, k]] * weights[:, k] for k in range(3))

    def at_texels(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (B, C, 3) and unit normals (B, C, 3) under each texel; vertices: (B, V, 3)."""
        face_normals = self._face_normals(vertices)
        normals = face_normals[:, self.incident].sum(2)
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
        at_texels = self._lerp(normals)
        return self._lerp(vertices), at_texels / np.maximum(np.linalg.norm(at_texels, axis=-1, keepdims=True), 1e-9)

    def condition(self, points: np.ndarray, vertices: np.ndarray, expression: np.ndarray) -> Look:
        """What the expression does to the look of each texel."""
        batch, count = points.shape[:2]
        open_ = np.ones((batch, count), np.float32)
        for name in ("mouth", "tongue", "teeth"):
            inside = self.part == name
            depth = vertices[:, self.anchors["lip_inner_upper"], None, 2] - points[:, inside, 2]
            open_[:, inside] = np.clip(1 - depth / 35, 0.08, 0.9)
        open_[:, self.part == "eye_socket"] = 0.5
        for side, eye in (("left", "eye_l"), ("right", "eye_r")):
            inside = self.part == eye
            top = vertices[:, self.anchors[f"eye_{side}_top"], None, 1]
            bottom = vertices[:, self.anchors[f"eye_{side}_bottom"], None, 1]
            height = points[:, inside, 1]
            shadow = np.clip((top - height) / 5, 0, 1) * 0.75 + 0.25
            open_[:, inside] = shadow * (0.5 + 0.5 * np.clip((height - bottom) / 3, 0, 1))
        return Look(open_, np.ones((batch, count, 3), np.float32), np.zeros((batch, count, 3), np.float32))


def _incident_triangles(triangles: np.ndarray, vertices: int) -> np.ndarray:
    """(V, K) triangles around each vertex, padded with the index one past the last triangle."""
    order = np.argsort(triangles.reshape(-1), kind="stable")
    count = np.bincount(triangles.reshape(-1), minlength=vertices)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    table = np.full((vertices, count.max()), len(triangles))
    table[triangles.reshape(-1)[order], rank] = order // 3
    return table
