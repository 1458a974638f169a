"""The surface at each texel: its place and normal, and how an expression folds, shadows and reddens it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipflow_dome.atlas import Texels, lay_atlas
from lipflow_dome.head import EYE_PARTS, Head
from lipflow_dome.lighting import at_texels, mesh_normals
from lipflow_dome.occlusion import load_occlusion
from lipflow_dome.wrinkles import wrinkle_height, wrinkle_slope

FULL_FOLD = 0.30
"""Relative loss of area at which skin is fully wrinkled."""

ENAMEL = (1.10, 1.0, 1.06)
"""Tint of the teeth: beside red lips the asset's own look green."""

EFFORT = {
    "cheekPuff": 0.9,
    "mouthPressLeft": 0.4,
    "mouthPressRight": 0.4,
    "browDownLeft": 0.35,
    "browDownRight": 0.35,
    "noseSneerLeft": 0.3,
    "noseSneerRight": 0.3,
    "mouthSmileLeft": 0.25,
    "mouthSmileRight": 0.25,
    "eyeSquintLeft": 0.2,
    "eyeSquintRight": 0.2,
    "mh_neck-platysma": 0.4,
}
"""Units whose effort reddens the face, and how strongly."""


@dataclass(frozen=True)
class Look:
    """The effect of an expression on the appearance of each texel.

    Args:
        open: (B, C) share of the surroundings whose light reaches the texel.
        tint: (B, C, 3) factor on the albedo: flush, pallor, dark furrows.
        tilt: (B, C, 3) added to the unit normal: wrinkles.
    """

    open: np.ndarray
    tint: np.ndarray
    tilt: np.ndarray

    def bend(self, normals: np.ndarray) -> np.ndarray:
        """Tilt unit normals (B, C, 3) by the wrinkles' slopes."""
        bent = normals + self.tilt
        return bent / np.maximum(np.linalg.norm(bent, axis=-1, keepdims=True), 1e-9)


class Surface:
    """The surface of one head at the texels of its texture.

    Args:
        head: The head.
        texels: The triangle under each texel.
    """

    def __init__(self, head: Head, texels: Texels):
        asset = head.asset
        self.triangles = asset.triangles
        self.corners = asset.triangles[texels.triangle]
        self.barycentric = texels.barycentric.astype(np.float32)
        self.anchors = asset.anchors
        part = np.array(asset.part_names)[asset.part[texels.triangle]]
        self.eyes = {name: np.flatnonzero(part == name) for name in EYE_PARTS}
        self.inside = np.flatnonzero(np.isin(part, ("mouth", "tongue")))
        self.teeth = np.flatnonzero(part == "teeth")
        self.skin = np.flatnonzero(part == "skin")
        self.effort = np.array([EFFORT.get(name, 0.0) for name in asset.expression_names])
        self.base_open, self.open_changes = (array.astype(np.float64) for array in load_occlusion())

        rest = head.neutral[None].astype(np.float32)
        points, normals, self.rest_area = self.locate(rest)
        points, normals = points[0].astype(np.float64), normals[0].astype(np.float64)
        anchors = {name: head.neutral[vertex] for name, vertex in asset.anchors.items()}
        footprint = _footprint(head, texels)[self.skin]
        points, normals = points[self.skin], normals[self.skin]
        slope = wrinkle_slope(points, anchors, footprint)
        slope -= normals * np.einsum("ci,ci->c", normals, slope)[:, None]
        self.wrinkle_slope = slope.astype(np.float32)
        self.furrow = np.clip(-wrinkle_height(points, anchors, footprint), 0, 1).astype(np.float32)
        self.blood = _blood(points, anchors).astype(np.float32)

    def locate(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give the places and normals of the texels, and the area of surface around each vertex.

        Args:
            vertices: (B, V, 3) float32.

        Returns:
            Points (B, C, 3), unit normals (B, C, 3), and areas (B, V) of the triangles around each vertex.
        """
        at_vertices, areas = mesh_normals(vertices, self.triangles)
        normals = self._lerp(at_vertices)
        normals /= np.maximum(np.sqrt(np.einsum("bci,bci->bc", normals, normals)), 1e-9)[..., None]
        return self._lerp(vertices), normals, areas

    def _lerp(self, values: np.ndarray) -> np.ndarray:
        """Interpolate values at vertices (B, V, K) to texels (B, C, K), float32."""
        return at_texels(np.ascontiguousarray(values, np.float32), self.corners, self.barycentric)

    def condition(self, points: np.ndarray, areas: np.ndarray, vertices: np.ndarray, expression: np.ndarray) -> Look:
        """Compute the effect of an expression on the appearance of each texel.

        Args:
            points: (B, C, 3) places of the texels.
            areas: (B, V) of the triangles around each vertex.
            vertices: (B, V, 3) float32 millimetres, head frame.
            expression: (B, E) weights of the expression units.
        """
        batch, count = points.shape[:2]
        weights = expression.astype(np.float64)
        # Sums in float64, rounded to float32, do not depend on the number of BLAS threads.
        at_vertices = np.clip(self.base_open + weights @ self.open_changes, 0.03, 1).astype(np.float32)
        compression = (1 - areas / self.rest_area).astype(np.float32)
        open_, compression = np.moveaxis(self._lerp(np.stack([at_vertices, compression], -1)), -1, 0).copy()
        open_[:, self.inside] = 0.15 + 0.85 * np.sqrt(open_[:, self.inside])  # light is reflected within the mouth
        open_[:, self.teeth] = self._between_lips(points[:, self.teeth], vertices)
        for side, eye in (("left", "eye_l"), ("right", "eye_r")):
            open_[:, self.eyes[eye]] = self._between_lids(points[:, self.eyes[eye]], vertices, side)

        compression = compression[:, self.skin]
        fold = np.clip(compression / FULL_FOLD, 0, 1.2)
        tilt = np.zeros((batch, count, 3), np.float32)
        tilt[:, self.skin] = -fold[..., None] * self.wrinkle_slope
        flushed = np.clip(weights @ self.effort, 0, 1.2).astype(np.float32)[:, None] * self.blood
        flushed = flushed + np.clip(0.6 * compression, -0.12, 0.25)  # compressed skin reddens, stretched skin pales
        dark = 1 - 0.30 * fold * self.furrow - 0.12 * fold
        tint = np.ones((batch, count, 3), np.float32)
        for channel, amount in enumerate((0.03, -0.14, -0.12)):
            tint[:, self.skin, channel] = dark * (1 + amount * flushed)
        tint[:, self.teeth] = ENAMEL
        return Look(open_, tint, tilt)

    def _between_lips(self, points: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        """Compute the openness of the teeth's texels from the angle between the lips, and some reflected light.

        The lips' inner edges are modelled as parabolas from corner to corner of the mouth.
        """
        left, right, top, bottom = (
            vertices[:, self.anchors[name], None]
            for name in ("mouth_left", "mouth_right", "lip_inner_upper", "lip_inner_lower")
        )
        middle, half = (left + right) / 2, np.abs(left - right)[..., 0] / 2
        across = np.clip(1 - ((points[..., 0] - middle[..., 0]) / half) ** 2, 0, 1)[..., None]
        upper, lower = middle + (top - middle) * across, middle + (bottom - middle) * across
        behind = np.maximum((upper + lower)[..., 2] / 2 - points[..., 2], 2)
        upwards = np.arctan((upper[..., 1] - points[..., 1]) / behind)
        downwards = np.arctan((lower[..., 1] - points[..., 1]) / behind)
        return 0.15 + 0.85 * np.clip(2.6 * (upwards - downwards) / np.pi, 0, 1)

    def _between_lids(self, points: np.ndarray, vertices: np.ndarray, side: str) -> np.ndarray:
        """Compute the openness of an eyeball's texels: shadowed by the upper lid, a little by the lower, dark behind.

        It follows the lids, not the eyeball's own rotation.
        """

        def anchor(name: str) -> np.ndarray:
            return vertices[:, self.anchors[f"eye_{side}_{name}"], None]

        inner, outer, top, bottom = (anchor(name) for name in ("inner", "outer", "top", "bottom"))
        middle, half = (inner + outer) / 2, np.abs(outer - inner)[..., 0] / 2
        across = np.clip(1 - ((points[..., 0] - middle[..., 0]) / half) ** 2, 0, 1)
        upper = middle[..., 1] + (top - middle)[..., 1] * across
        lower = middle[..., 1] + (bottom - middle)[..., 1] * across
        under_upper = np.clip((upper - points[..., 1] + 0.8) / 4.5, 0, 1)
        over_lower = np.clip((points[..., 1] - lower + 0.8) / 2.5, 0, 1)
        return (0.18 + 0.82 * under_upper**0.8) * (0.45 + 0.55 * over_lower) * (0.55 + 0.45 * np.sqrt(across))


def _footprint(head: Head, texels: Texels) -> np.ndarray:
    """Give the width in millimetres of each texel on the resting head; (C,)."""
    atlas = lay_atlas()
    a, b, c = (head.neutral[head.asset.triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    u, v, w = (atlas.uv[atlas.uv_triangles[:, k]] * texels.size for k in range(3))
    texel_area = np.abs((v - u)[:, 0] * (w - u)[:, 1] - (v - u)[:, 1] * (w - u)[:, 0])
    return np.sqrt(area / np.maximum(texel_area, 1e-9))[texels.triangle]


def _blood(points: np.ndarray, anchors: dict[str, np.ndarray]) -> np.ndarray:
    """Give the strength (C,) with which each point reddens with effort, largest at cheeks and nose."""
    nose, eye = anchors["nose_tip"], anchors["eye_left_outer"]
    side = np.abs(points[:, 0])
    cheek = np.exp(-(((side - 42) / 18) ** 2) - ((points[:, 1] - nose[1] + 2) / 20) ** 2)
    tip = np.exp(-((side / 14) ** 2) - ((points[:, 1] - nose[1]) / 12) ** 2)
    forehead = 0.5 * np.exp(-((side / 40) ** 2) - ((points[:, 1] - eye[1] - 40) / 18) ** 2)
    front = np.clip((points[:, 2] + 20) / 40, 0, 1)
    return np.clip(cheek + tip + forehead, 0, 1) * front + 0.25 * (1 - front)
