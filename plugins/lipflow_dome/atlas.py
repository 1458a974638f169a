"""The texture atlas: the place of each part of the head in the texture, and the triangle under each texel.

The asset's own atlas gives the face a third of its width, and both eyes share one patch of a fifth. At 64² that leaves
three texels for an iris. The dome therefore arranges the same islands anew: the face is magnified within its island,
each eye and each eye socket has a patch of its own, and the iris is magnified in the middle of it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from lipflow_kit.texels import rasterise
from PIL import Image

from lipflow_core.records import Topology
from lipflow_dome.head import Asset, data_file, load_asset

SOURCE_COVERAGE = 256
SKIN_FLOOR = 0.272
"""Lower end of the face's island in v. The strip below it holds the small parts."""

# (u, v) of the lower left corner, width, height in the new atlas
PATCHES = {
    "eye_l": (0.004, 0.006, 0.204, 0.244),
    "eye_r": (0.222, 0.006, 0.204, 0.244),
    "teeth": (0.440, 0.006, 0.208, 0.244),
    "mouth": (0.664, 0.172, 0.160, 0.078),
    "tongue": (0.838, 0.172, 0.158, 0.078),
    "eye_socket_l": (0.664, 0.130, 0.160, 0.028),
    "eye_socket_r": (0.838, 0.130, 0.158, 0.028),
    "neck": (0.664, 0.006, 0.332, 0.110),
}


@dataclass(frozen=True)
class Atlas:
    """Texture coordinates of the dome's heads.

    Args:
        uv: (U, 2) float64 in [0, 1], v up.
        uv_triangles: (F, 3) indices into `uv`.
        source_uv: (U, 2) coordinates of the same points in the asset's own atlas.
    """

    uv: np.ndarray
    uv_triangles: np.ndarray
    source_uv: np.ndarray


@functools.cache
def lay_atlas() -> Atlas:
    """Arrange the asset's islands in the new atlas, once per process."""
    asset = load_asset()
    islands = _islands(asset)
    uv, source, triangles = [], [], np.empty_like(asset.uv_triangles)
    for name, members in islands.items():
        used, local = np.unique(asset.uv_triangles[members], return_inverse=True)
        triangles[members] = local.reshape(-1, 3) + sum(map(len, uv))
        source.append(asset.uv[used])
        uv.append(_place(name, asset.uv[used]))
    return Atlas(np.concatenate(uv), triangles, np.concatenate(source))


@functools.cache
def topology() -> Topology:
    """Give the triangles and atlas that all heads share, always as one object, so that renderers prepare it once."""
    atlas = lay_atlas()
    return Topology(
        triangles=torch.from_numpy(load_asset().triangles),
        uv=torch.from_numpy(atlas.uv.astype(np.float32)),
        uv_triangles=torch.from_numpy(atlas.uv_triangles),
    )


def _islands(asset: Asset) -> dict[str, np.ndarray]:
    """Give the triangles of each island."""
    height = asset.uv[asset.uv_triangles][..., 1].min(1)
    side = asset.vertices[asset.triangles][..., 0].mean(1)
    skin, socket = asset.part_triangles("skin"), asset.part_triangles("eye_socket")
    return {
        "face": skin[height[skin] > 0.291],
        "neck": skin[height[skin] <= 0.291],
        "eye_socket_l": socket[side[socket] > 0],
        "eye_socket_r": socket[side[socket] <= 0],
        **{name: asset.part_triangles(name) for name in ("mouth", "eye_l", "eye_r", "teeth", "tongue")},
    }


def _place(island: str, uv: np.ndarray) -> np.ndarray:
    low, high = uv.min(0), uv.max(0)
    unit = (uv - low) / (high - low)
    if island == "face":
        # Eyes and mouth lie within u = 0.5 ± 0.16 and between 0.30 and 0.76 of the island's height.
        u = _magnify(unit[:, 0], center=0.5, width=0.20, gain=1.4)
        v = _magnify(unit[:, 1], center=0.33, width=0.26, gain=0.8)
        return np.stack([0.004 + 0.992 * u, SKIN_FLOOR + (0.996 - SKIN_FLOOR) * v], 1)
    if island in ("eye_l", "eye_r"):
        # An azimuthal map about the pupil whose radius saturates: it enlarges iris and visible white.
        offset = 2 * unit - 1
        radius = np.linalg.norm(offset, axis=1, keepdims=True)
        scale = (1 - np.exp(-2.2 * radius)) / (1 - math.exp(-2.2)) / np.maximum(radius, 1e-9)
        unit = 0.5 + 0.5 * np.clip(offset * scale, -1, 1)
    u, v, width, height = PATCHES[island]
    return np.array([u, v]) + unit * np.array([width, height])


def _magnify(x: np.ndarray, center: float, width: float, gain: float) -> np.ndarray:
    """Map [0, 1] smoothly and monotonously onto itself, 1 + gain times as steep at the centre as far from it."""
    bump = (
        np.array([math.erf((value - center) / width) for value in (*x, 0.0, 1.0)]) * gain * width * math.sqrt(np.pi) / 2
    )
    raw = np.concatenate([x, [0.0, 1.0]]) + bump
    return (raw[:-2] - raw[-2]) / (raw[-1] - raw[-2])


@dataclass(frozen=True)
class Texels:
    """The triangle under each texel of a T×T texture, row 0 on top.

    Args:
        size: T.
        covered: (C,) flat indices of the texels that lie on a triangle.
        triangle: (C,) the triangle under each.
        barycentric: (C, 3) weights of its corners.
        fill: (T·T,) position in `covered` that each texel copies its colour from; −1 far from any island. Texels near
            an island copy its nearest texel, so that bilinear sampling at its border finds no foreign colour.
    """

    size: int
    covered: np.ndarray
    triangle: np.ndarray
    barycentric: np.ndarray
    fill: np.ndarray

    def spread(self, values: np.ndarray, blank: np.ndarray) -> np.ndarray:
        """Lay values (..., C, K) of covered texels out as textures (..., K, T, T); blank: (K,) far from any island."""
        full = np.where((self.fill >= 0)[:, None], values[..., self.fill, :], blank)
        return np.moveaxis(full, -1, -2).reshape(*values.shape[:-2], values.shape[-1], self.size, self.size)


@functools.lru_cache(maxsize=4)
def map_texels(size: int) -> Texels:
    """Find the triangle under each texel centre."""
    atlas = lay_atlas()
    corners = atlas.uv[atlas.uv_triangles] * size
    corners = np.stack([corners[..., 0] - 0.5, size - corners[..., 1] - 0.5], -1)
    groups = np.array_split(np.arange(len(corners)), max(1, size // 128))
    found = [rasterise(corners[group], size) for group in groups]
    texel, barycentric = (np.concatenate([part[index] for part in found]) for index in (0, 2))
    triangle = np.concatenate([group[part[1]] for group, part in zip(groups, found, strict=True)])
    # Teeth and tongue fold over themselves in the atlas: teeth show their front, the tongue its upper side.
    asset = load_asset()
    points = asset.vertices[asset.triangles]
    normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    facing = normals[:, 2].copy()
    tongue = asset.part_triangles("tongue")
    facing[tongue] = normals[tongue, 1]
    order = np.lexsort((triangle, -facing[triangle], texel))
    first = order[np.unique(texel[order], return_index=True)[1]]
    covered = texel[first]
    fill = np.full(size * size, -1)
    fill[covered] = np.arange(len(covered))
    return Texels(size, covered, triangle[first], barycentric[first], _dilate(fill.reshape(size, size)).reshape(-1))


def _dilate(fill: np.ndarray) -> np.ndarray:
    """Copy each covered texel's index outwards, ring by ring; fill: (T, T), −1 where empty."""
    size = len(fill)
    for _ in range(max(3, size // 24)):
        padded = np.pad(fill, 1, constant_values=-1)
        for row, column in ((0, 1), (2, 1), (1, 0), (1, 2), (0, 0), (0, 2), (2, 0), (2, 2)):
            neighbour = padded[row : row + size, column : column + size]
            fill = np.where(fill < 0, neighbour, fill)
    return fill


def load_albedo(subject: str, size: int) -> np.ndarray:
    """Give the albedo of a subject at the covered texels of a T×T texture, box-filtered from a finer one.

    Args:
        subject: Full id, such as "p01_caucasian_male".
        size: T.

    Returns:
        (C, 3) float64 in [0, 1], sRGB, as stored.
    """
    with data_file(f"albedo_{subject}.jpg").open("rb") as file, Image.open(file) as image:
        picture = np.asarray(image.convert("RGB"), np.float64) / 255
    # The colour between the asset's islands must not bleed into minified skin: it gets no weight in the pyramid.
    weight = np.kron(_source_coverage(), np.ones((len(picture) // SOURCE_COVERAGE,) * 2))[..., None]
    picture = np.concatenate([picture * weight, weight], axis=2)
    levels, atlas, texels = _pyramid(picture), lay_atlas(), map_texels(size)
    factor = max(1, min(4, 1024 // size))
    if factor == 1:
        return _sample(levels, *_source(atlas, texels.triangle, texels.barycentric, size, len(picture)))
    fine = map_texels(size * factor)
    colors = _sample(levels, *_source(atlas, fine.triangle, fine.barycentric, fine.size, len(picture)))
    row, column = fine.covered // fine.size // factor, fine.covered % fine.size // factor
    coarse = row * size + column
    weight = np.bincount(coarse, minlength=size * size)
    sums = np.stack([np.bincount(coarse, colors[:, k], minlength=size * size) for k in range(3)], 1)
    # A texel whose centre is covered has a covered fine texel within it, unless a sliver just grazes its centre.
    average = sums / np.maximum(weight, 1)[:, None]
    average[weight == 0] = colors.mean(0)
    return average[texels.covered]


@functools.cache
def _source_coverage() -> np.ndarray:
    """Give a map (256, 256) of the islands in the asset's own atlas: 1 within them, a thousandth outside."""
    atlas = lay_atlas()
    corners = atlas.source_uv[atlas.uv_triangles] * SOURCE_COVERAGE
    corners = np.stack([corners[..., 0] - 0.5, SOURCE_COVERAGE - corners[..., 1] - 0.5], -1)
    covered = np.full(SOURCE_COVERAGE**2, 1e-3)
    covered[rasterise(corners, SOURCE_COVERAGE)[0]] = 1
    return covered.reshape(SOURCE_COVERAGE, SOURCE_COVERAGE)


def _source(
    atlas: Atlas, triangle: np.ndarray, barycentric: np.ndarray, size: int, resolution: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give the places (C, 2) of texels in the asset's atlas and the pyramid levels (C,) with pixels of their size."""
    uv = np.einsum("cij,ci->cj", atlas.source_uv[atlas.uv_triangles[triangle]], barycentric)
    ratio = _areas(atlas, atlas.source_uv) * resolution**2 / np.maximum(_areas(atlas, atlas.uv) * size**2, 1e-12)
    return uv, np.maximum(0.5 * np.log2(np.maximum(ratio, 1e-12)), 0)[triangle]


def _areas(atlas: Atlas, uv: np.ndarray) -> np.ndarray:
    a, b, c = np.moveaxis(uv[atlas.uv_triangles], 1, 0)
    return np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


def _pyramid(picture: np.ndarray) -> list[np.ndarray]:
    levels = [picture]
    while len(levels[-1]) > 16:
        level = levels[-1]
        levels.append((level[0::2, 0::2] + level[1::2, 0::2] + level[0::2, 1::2] + level[1::2, 1::2]) / 4)
    return levels


def _sample(levels: list[np.ndarray], uv: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Sample weighted colours (C, 3) trilinearly; uv: (C, 2), level: (C,)."""
    level = np.clip(level, 0, len(levels) - 1)
    low = np.minimum(level.astype(np.int64), len(levels) - 2)
    result = np.zeros((len(uv), 4))
    for index in range(len(levels)):
        weight = np.where(low == index, 1 - (level - low), np.where(low == index - 1, level - low, 0))
        chosen = weight > 0
        if chosen.any():
            result[chosen] += weight[chosen, None] * _bilinear(levels[index], uv[chosen])
    return result[:, :3] / result[:, 3:]


def _bilinear(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    size = len(picture)
    x = np.clip(uv[:, 0] * size - 0.5, 0, size - 1)
    y = np.clip((1 - uv[:, 1]) * size - 0.5, 0, size - 1)
    x0, y0 = np.minimum(x.astype(np.int64), size - 2), np.minimum(y.astype(np.int64), size - 2)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    top = picture[y0, x0] * (1 - fx) + picture[y0, x0 + 1] * fx
    bottom = picture[y0 + 1, x0] * (1 - fx) + picture[y0 + 1, x0 + 1] * fx
    return top * (1 - fy) + bottom * fy
