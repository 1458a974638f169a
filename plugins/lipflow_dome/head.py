"""The parametric head: the geometry of an identity, its expression units and its eyes."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np

from lipflow_core.errors import CaptureError

EYE_PARTS = ("eye_l", "eye_r")


def data_file(name: str):
    """Give a file of the head asset."""
    return resources.files("lipflow_dome") / "data" / name


@dataclass(frozen=True)
class Asset:
    """The head asset as stored; data/README.md describes it.

    Args:
        vertices: (V, 3) millimetres, neutral face of the mean identity.
        triangles: (F, 3) indices into the vertices.
        uv: (U, 2) coordinates in the asset's own atlas, v up.
        uv_triangles: (F, 3) indices into `uv`.
        part: (F,) index into `part_names` of each triangle.
        part_names: Names of the parts.
        expression_deltas: (E, V, 3) displacement of each expression unit at weight 1.
        expression_names: Names of the units.
        identity_deltas: (I, V, 3) displacement of each identity mode at weight 1.
        identity_names: Names of the modes.
        anchors: Name → vertex, of the asset's 16 anatomical landmarks.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    uv_triangles: np.ndarray
    part: np.ndarray
    part_names: tuple[str, ...]
    expression_deltas: np.ndarray
    expression_names: tuple[str, ...]
    identity_deltas: np.ndarray
    identity_names: tuple[str, ...]
    anchors: Mapping[str, int]

    def part_triangles(self, *names: str) -> np.ndarray:
        """Give the indices of the triangles of some parts."""
        return np.flatnonzero(np.isin(self.part, [self.part_names.index(name) for name in names]))

    def part_vertices(self, *names: str) -> np.ndarray:
        """Give the indices of the vertices of some parts."""
        return np.unique(self.triangles[self.part_triangles(*names)])


@functools.cache
def load_asset() -> Asset:
    """Read the head asset, once per process."""
    with data_file("head.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Asset(
            vertices=arrays["vertices"].astype(np.float64),
            triangles=arrays["triangles"].astype(np.int64),
            uv=arrays["uv"].astype(np.float64),
            uv_triangles=arrays["uv_triangles"].astype(np.int64),
            part=arrays["part"].astype(np.int64),
            part_names=tuple(map(str, arrays["part_names"])),
            expression_deltas=arrays["expression_deltas"].astype(np.float64),
            expression_names=tuple(map(str, arrays["expression_names"])),
            identity_deltas=arrays["identity_deltas"],
            identity_names=tuple(map(str, arrays["identity_names"])),
            anchors=dict(zip(map(str, arrays["landmark_names"]), map(int, arrays["landmark_vertices"]), strict=True)),
        )


def subject_identities() -> dict[str, dict[str, float]]:
    """Give the identity weights of the eight subjects, by full id such as "p01_caucasian_male"."""
    data = json.loads(data_file("subjects.json").read_text(encoding="utf-8"))
    return {name: dict(entry["identity"]) for name, entry in data["subjects"].items()}


def random_identity(seed: int) -> dict[str, float]:
    """Draw the identity weights of a person who does not exist: a convex mix of macros, and a dozen details."""
    generator = np.random.default_rng([seed, 0x1D])
    names = load_asset().identity_names
    macros = [name for name in names if name.startswith("macro/")]
    share = generator.dirichlet(np.full(len(macros), 0.3))
    old = np.array(["-old" in name for name in macros])
    if share[old].sum() > 0.5:  # the asset's "old" macros are meant for at most half of the mix
        share[old] *= 0.5 / share[old].sum()
        share[~old] *= 0.5 / max(share[~old].sum(), 1e-9)
    share /= share.sum()
    details = [name for name in names if not name.startswith(("macro/", "body/", "neck/"))]
    chosen = generator.choice(len(details), size=12, replace=False)
    weights = {name: float(weight) for name, weight in zip(macros, share, strict=True) if weight > 1e-3}
    return weights | {details[index]: float(generator.uniform(0.05, 0.35)) for index in chosen}


class Head:
    """One person's head.

    Args:
        identity: Identity mode → weight.

    Attributes:
        asset: The head asset.
        neutral: (V, 3) float64, millimetres, head frame.
        units: (E, V, 3) displacement of each unit. Gaze units move the lids only; eyes are rotated.
        eye_vertices: Indices of the vertices of the left and of the right eyeball.
        eye_centers: (2, 3) centre of rotation of the left and of the right eyeball.
        eye_radii: (2,) radius of each eyeball.
    """

    def __init__(self, identity: Mapping[str, float]):
        self.asset = asset = load_asset()
        unknown = sorted(set(identity) - set(asset.identity_names))
        if unknown:
            raise CaptureError(
                f"the head has no identity mode '{unknown[0]}'",
                "The modes are listed by `lipflow_dome.head.load_asset().identity_names`.",
            )
        self.neutral = asset.vertices.copy()
        for name, weight in identity.items():
            self.neutral += weight * asset.identity_deltas[asset.identity_names.index(name)].astype(np.float64)
        self.eye_vertices = tuple(asset.part_vertices(name) for name in EYE_PARTS)
        self.eye_centers, self.eye_radii = map(
            np.stack, zip(*(_fit_sphere(self.neutral[index]) for index in self.eye_vertices), strict=True)
        )
        # The sockets' walls lie so close behind the lids that squinting cheeks would pull them through.
        walls = np.setdiff1d(asset.part_vertices("eye_socket"), asset.part_vertices("skin"))
        self.neutral[walls, 2] -= 5.0
        self._lids = tuple(self._lid_vertices(eye) for eye in range(2))
        self.units = asset.expression_deltas.copy()
        gaze = [index for index, name in enumerate(asset.expression_names) if name.startswith("eyeLook")]
        for vertices in self.eye_vertices:
            self.units[np.ix_(gaze, vertices)] = 0

    def deform(self, weights: np.ndarray, gaze: np.ndarray) -> np.ndarray:
        """Give the vertices of faces.

        Args:
            weights: (B, E) of the expression units.
            gaze: (B, 2, 2) yaw to the subject's left and pitch upwards of the left and right eye, radians.

        Returns:
            (B, V, 3) float32 millimetres, head frame.
        """
        # Sums in float64, rounded to float32, do not depend on the number of BLAS threads.
        count = len(self.units)
        moved = self.neutral + (weights @ self.units.reshape(count, -1)).reshape(len(weights), -1, 3)
        for eye, vertices in enumerate(self.eye_vertices):
            center = self.eye_centers[eye]
            moved[:, vertices] = (
                np.einsum("bij,bvj->bvi", gaze_rotation(gaze[:, eye]), moved[:, vertices] - center) + center
            )
            skin, closest = self._lids[eye]
            offset = moved[:, skin] - center
            distance = np.linalg.norm(offset, axis=-1)
            moved[:, skin] = center + offset * (np.maximum(distance, closest) / np.maximum(distance, 1e-9))[..., None]
        return moved.astype(np.float32)

    def _lid_vertices(self, eye: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the skin around an eye, and the least distance of each of its vertices from the eye's centre.

        This makes lids slide on eyes: no vertex comes nearer than the eyeball's surface unless it lies deeper at rest.
        """
        skin = self.asset.part_vertices("skin")
        offset = self.neutral[skin] - self.eye_centers[eye]
        distance = np.linalg.norm(offset, axis=1)
        near = (distance < 2.2 * self.eye_radii[eye]) & (offset[:, 2] > 0)
        return skin[near], np.minimum(distance[near], self.eye_radii[eye] + 0.7)


def gaze_rotation(gaze: np.ndarray) -> np.ndarray:
    """Give the rotation (..., 3, 3) that turns the forward axis z by yaw and pitch (..., 2), radians."""
    yaw, pitch = gaze[..., 0], gaze[..., 1]
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    zero = np.zeros_like(yaw)
    return np.stack(
        [
            np.stack([cy, -sy * sp, sy * cp], -1),
            np.stack([zero, cp, sp], -1),
            np.stack([-sy, -cy * sp, cy * cp], -1),
        ],
        -2,
    )


def _fit_sphere(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a sphere to points: its centre (3,) and radius ().

    The lids lie on this sphere, so eyes that turn about its centre stay within them. The equation
    |p|² = 2 p·c + (r² − |c|²) is linear in c and the constant.
    """
    design = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    *center, constant = np.linalg.lstsq(design, (points**2).sum(1), rcond=None)[0]
    center = np.array(center)
    return center, np.sqrt(constant + center @ center)
