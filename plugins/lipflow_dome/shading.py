"""The head's appearance: the colour of every texel as a function of expression, head pose and viewpoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipflow_dome.atlas import load_albedo, map_texels
from lipflow_dome.head import Head
from lipflow_dome.lighting import GAMMA, send
from lipflow_dome.surface import Surface

# Direction to each lamp in the dome, and its strength: even light with a little asymmetry, as in real domes.
LAMPS = np.array(
    [
        [0.45, 0.50, 0.74, 0.42],
        [-0.55, 0.35, 0.76, 0.34],
        [0.95, 0.10, 0.20, 0.16],
        [-0.95, 0.15, 0.20, 0.16],
        [0.05, 0.98, -0.15, 0.20],
        [-0.10, -0.65, 0.75, 0.16],
        [0.22, 0.16, 0.96, 0.10],
    ]
)
AMBIENT = 0.34
SKY = 0.10
SHEEN = 0.07
"""Strength of the dome's own glow, mirrored at grazing angles."""

EXPOSURE = 0.86


@dataclass(frozen=True)
class Finish:
    """Reflectance of a part of the head: strength and exponent of its highlights."""

    strength: float
    exponent: int


FINISHES = {
    "skin": Finish(0.50, 16),
    "mouth": Finish(0.12, 30),
    "eye_socket": Finish(0.05, 12),
    "eye_l": Finish(9.0, 160),
    "eye_r": Finish(9.0, 160),
    "teeth": Finish(0.35, 60),
    "tongue": Finish(0.25, 30),
}


class Shader:
    """Shader of one person's head.

    Args:
        head: The head.
        subject: Full id of the subject whose albedo is used.
        size: Height and width of the texture.
    """

    def __init__(self, head: Head, subject: str, size: int):
        self.texels = map_texels(size)
        self.surface = Surface(head, self.texels)
        albedo = load_albedo(subject, size) ** GAMMA
        self.albedo = albedo.astype(np.float32)
        self.blank = (albedo.mean(0) ** (1 / GAMMA)).astype(np.float32)
        part = head.asset.part[self.texels.triangle]
        strength = np.array([FINISHES[name].strength for name in head.asset.part_names])
        exponent = np.array([FINISHES[name].exponent for name in head.asset.part_names])
        self.strength, self.exponent = strength[part].astype(np.float32), exponent[part]

    def shade(
        self, vertices: np.ndarray, expression: np.ndarray, pose: np.ndarray, viewpoints: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Shade textures.

        Args:
            vertices: (B, V, 3) float32 millimetres, head frame.
            expression: (B, E) weights of the expression units.
            pose: (B, 3, 4) [R|t], head frame → dome. The lamps stay while the head moves.
            viewpoints: (B, N, 3) centres of the cameras, head frame, millimetres.

        Returns:
            Colours (B, N, C, 3) float32 in [0, 1] of the covered texels seen from each viewpoint, and the cosine
            (B, N, C) between each texel's normal and each viewpoint, 0 where it faces away.
        """
        points, normals, areas = self.surface.locate(vertices)
        look = self.surface.condition(points, areas, vertices, expression)
        normals = look.bend(normals)
        lamps = np.einsum("bij,li->blj", pose[:, :, :3], LAMPS[:, :3]).astype(np.float32)
        power = LAMPS[:, 3].astype(np.float32)
        base = self.albedo * look.tint * self._diffuse(normals, lamps, power, look.open, pose)
        return send(
            points,
            normals,
            viewpoints,
            base,
            look.open,
            lamps,
            power,
            self.strength,
            self.exponent,
            sheen=SHEEN,
            exposure=EXPOSURE,
        )

    def _diffuse(
        self, normals: np.ndarray, lamps: np.ndarray, power: np.ndarray, open_: np.ndarray, pose: np.ndarray
    ) -> np.ndarray:
        """Compute the irradiance (B, C, 3). Red light wraps further around, since it scatters under the skin."""
        cosine = np.einsum("bci,bli->bcl", normals, lamps)
        up = np.einsum("bci,bi->bc", normals, pose[:, 1, :3].astype(np.float32))
        ambient = (AMBIENT + SKY * up) * open_
        wrapped = [
            np.einsum("bcl,l->bc", np.maximum((cosine + wrap) / (1 + wrap), 0), power) for wrap in (0.30, 0.14, 0.10)
        ]
        direct = np.stack(wrapped, axis=-1) * (0.35 + 0.65 * open_)[..., None]
        return ambient[..., None] + direct * open_[..., None]
