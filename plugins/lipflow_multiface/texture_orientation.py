"""Whether textures are stored upside down, told by comparing them with the pictures. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from lipflow_kit.png_files import read_picture

from lipflow_core.errors import CaptureError
from lipflow_multiface.krt import KrtCamera
from lipflow_multiface.layout import AVERAGE, CaptureFolder
from lipflow_multiface.obj_files import Mesh
from lipflow_multiface.tracked_mesh import read_transform, read_vertices
from lipflow_multiface.visibility import see_mesh

TELLING = 0.15
"""Difference of correlations above which textures count as stored upside down."""


def texture_agreement(
    folder: CaptureFolder, mesh: Mesh, cameras: Sequence[KrtCamera], frames: Sequence[tuple[str, int]]
) -> tuple[float, float]:
    """Correlate average textures with pictures, both as stored and upside down.

    At each vertex that a camera sees, the brightness of its pixel is compared with that of its texel.

    Args:
        folder: The capture.
        mesh: Its topology.
        cameras: Cameras whose pictures are compared.
        frames: (segment, number) of the frames compared. Damaged and missing files are passed over.

    Returns:
        Mean correlation with row 0 at v = 1, and with row 0 at v = 0; NaN if nothing could be compared.
    """
    corners, first = np.unique(mesh.triangles.ravel(), return_index=True)
    uv = np.full((len(mesh.vertices), 2), np.nan)
    uv[corners] = mesh.uv.clip(0, 1)[mesh.uv_triangles.ravel()[first]]
    found = []
    for segment, number in frames:
        for camera in cameras:
            try:
                found.append(_agreement(folder, mesh, uv, camera, segment, number))
            except CaptureError:
                continue
    straight, flipped = np.array(found, np.float64).reshape(-1, 2).T
    return (float(straight.mean()), float(flipped.mean())) if found else (float("nan"), float("nan"))


def _agreement(
    folder: CaptureFolder, mesh: Mesh, uv: np.ndarray, camera: KrtCamera, segment: str, number: int
) -> tuple[float, float]:
    picture = read_picture(folder.picture(segment, camera.name, number)).astype(np.float64).sum(-1)
    texture = read_picture(folder.texture(segment, AVERAGE, number)).astype(np.float64).sum(-1)
    vertices = read_vertices(folder.vertices(segment, number), len(mesh.vertices))
    pose = read_transform(folder.transform(segment, number))
    found = see_mesh(vertices, mesh.triangles, camera, pose, picture.shape)
    seen = found.seen & np.isfinite(uv[:, 0])
    height, width = picture.shape
    places = np.rint(found.places)
    seen &= ((places >= 0) & (places < [width, height])).all(1)
    if seen.sum() < 20:
        raise CaptureError("too little of the mesh is seen")
    rows, columns = texture.shape
    column = np.clip((uv[seen, 0] * columns).astype(np.int64), 0, columns - 1)
    row = np.clip(((1 - uv[seen, 1]) * rows).astype(np.int64), 0, rows - 1)
    x, y = places[seen].astype(np.int64).T
    pixels = picture[y, x]
    return _correlation(pixels, texture[row, column]), _correlation(pixels, texture[::-1][row, column])


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(), other - other.mean()
    scale = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / scale) if scale > 0 else 0.0
