"""Which way up textures are stored, told from the pictures. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from lipflow_kit.cameras import compose, positions, project
from lipflow_kit.pictures import read_picture

from lipflow_core.errors import CaptureError
from lipflow_multiface.krt import KrtCamera
from lipflow_multiface.layout import AVERAGE, CaptureFolder
from lipflow_multiface.meshes import Mesh, read_transform, read_vertices
from lipflow_multiface.overlay import faces_camera, seen_vertices

TELLING = 0.15
"""Difference of correlations above which the pictures are believed."""


def texture_agreement(
    folder: CaptureFolder, mesh: Mesh, cameras: Sequence[KrtCamera], frames: Sequence[tuple[str, int]]
) -> tuple[float, float]:
    """How well average textures agree with pictures, as they are stored and upside down.

    At each vertex that a camera sees, the brightness of its pixel is compared with that of its texel.

    Args:
        folder: The capture.
        mesh: Its topology.
        cameras: Those to ask.
        frames: Those to ask about; damaged and missing ones are passed over.

    Returns:
        Mean correlation with row 0 at v = 1, and with row 0 at v = 0; NaN if nothing could be compared.
    """
    corners, first = np.unique(mesh.triangles.ravel(), return_index=True)
    uv = np.full((len(mesh.vertices), 2), np.nan)
    uv[corners] = mesh.uv[mesh.uv_triangles.ravel()[first]]
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
    vertices = read_vertices(folder.vertices(segment, number), len(mesh.vertices)).astype(np.float64)
    extrinsics = compose(camera.extrinsics[None], read_transform(folder.transform(segment, number))[None])[0, 0]
    places, away = project(vertices, camera.intrinsics, extrinsics)
    front = faces_camera(vertices, mesh.triangles, positions(extrinsics))
    seen = seen_vertices(places, away, mesh.triangles[front]) & np.isfinite(uv[:, 0])
    height, width = picture.shape
    x, y = np.rint(places).astype(np.int64).T
    seen &= (x >= 0) & (y >= 0) & (x < width) & (y < height)
    if seen.sum() < 20:
        raise CaptureError("too little of the mesh is seen")
    rows, columns = texture.shape
    column = np.clip((uv[seen, 0] * columns).astype(np.int64), 0, columns - 1)
    row = np.clip(((1 - uv[seen, 1]) * rows).astype(np.int64), 0, rows - 1)
    pixels = picture[y[seen], x[seen]]
    return _correlation(pixels, texture[row, column]), _correlation(pixels, texture[::-1][row, column])


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(), other - other.mean()
    scale = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / scale) if scale > 0 else 0.0
