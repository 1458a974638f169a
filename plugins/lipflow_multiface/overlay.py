"""A contact sheet that shows whether cameras are understood: projected mesh and keypoints over pictures.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from lipflow_kit.landmarks import choose_landmarks
from lipflow_kit.picture_sizes import LARGEST_PICTURE
from lipflow_kit.png_files import read_header, read_picture
from PIL import Image, ImageDraw

from lipflow_core.errors import CaptureError
from lipflow_multiface.krt import KrtCamera, read_krt
from lipflow_multiface.layout import CaptureFolder, reading
from lipflow_multiface.obj_files import Mesh, find_mesh, read_mesh
from lipflow_multiface.small_files import read_frame_list, read_landmarks
from lipflow_multiface.survey import mean_vertices
from lipflow_multiface.tracked_mesh import read_transform, read_vertices
from lipflow_multiface.visibility import see_mesh

WIRE = (64, 224, 255, 90)
POINT = (255, 64, 32, 255)
LABEL = 14
EDGES = 6000
"""Number of a mesh's edges that are drawn, evenly picked. All of them would hide the face."""


@dataclass(frozen=True)
class Sheet:
    """A contact sheet.

    Args:
        picture: Rows are frames, columns cameras.
        frames: (segment, number) of each row.
        cameras: Name of each column.
    """

    picture: Image.Image
    frames: tuple[tuple[str, int], ...]
    cameras: tuple[str, ...]


def overlay(
    folder: CaptureFolder,
    frames: Sequence[tuple[str, int]] | None = None,
    cameras: Sequence[str] | None = None,
    *,
    height: int = 320,
    wireframe: bool = True,
) -> Sheet:
    """Draw tracked meshes and keypoints over the pictures that they were tracked in.

    Args:
        folder: The capture.
        frames: (segment, number) of each row; four evenly spread ones if None.
        cameras: Name of each column; up to six evenly spread ones with pictures if None.
        height: Height of each cell, pixels.
        wireframe: Whether the mesh's edges are drawn besides the keypoints.

    Raises:
        CaptureError: If something that is needed is missing or damaged, or the sheet would be too large.
    """
    with reading(folder.root):
        folder.check()
        listed = read_frame_list(folder)
        calibrated = {camera.name: camera for camera in read_krt(folder.krt)}
        rows = _chosen_frames(listed, frames)
        names = _chosen_cameras(folder, calibrated, rows, cameras)
        _check_size(folder, rows, names, height)
        mesh = read_mesh(find_mesh(folder, listed))
        landmarks = _landmarks(folder, mesh)
        cells = [
            [_cell(folder, segment, number, calibrated[name], mesh, landmarks, height, wireframe) for name in names]
            for segment, number in rows
        ]
    widths = [max(row[column].width for row in cells) for column in range(len(names))]
    sheet = Image.new("RGB", (sum(widths), len(rows) * height), (24, 24, 24))
    for index, row in enumerate(cells):
        for column, cell in enumerate(row):
            sheet.paste(cell, (sum(widths[:column]), index * height))
    return Sheet(sheet, tuple(rows), tuple(names))


def _chosen_frames(listed: list[tuple[str, int]], wanted: Sequence[tuple[str, int]] | None) -> list[tuple[str, int]]:
    if not listed:
        raise CaptureError("the capture lists no frames")
    if wanted is None:
        return [listed[index] for index in np.unique(np.linspace(0, len(listed) - 1, 4).astype(int))]
    missing = [frame for frame in wanted if frame not in set(listed)]
    if missing:
        segment, number = missing[0]
        raise CaptureError(f"frame_list.txt names no frame {segment} {number:06d}", "Give frames as (segment, number).")
    return list(wanted)


def _chosen_cameras(
    folder: CaptureFolder,
    calibrated: dict[str, KrtCamera],
    rows: Sequence[tuple[str, int]],
    wanted: Sequence[str] | None,
) -> list[str]:
    if wanted is None:
        filmed = [name for name in calibrated if any(folder.picture(s, name, n).is_file() for s, n in rows)]
        if not filmed:
            raise CaptureError(f"{folder.pictures} has no pictures of these frames by calibrated cameras")
        return [filmed[index] for index in np.unique(np.linspace(0, len(filmed) - 1, 6).astype(int))]
    for name in wanted:
        if name not in calibrated:
            raise CaptureError(f"{folder.krt} has no camera '{name}'", f"It has {', '.join(calibrated)}.")
    return list(wanted)


def _check_size(folder: CaptureFolder, rows: Sequence[tuple[str, int]], names: Sequence[str], height: int) -> None:
    """Raise a CaptureError if the sheet would have more pixels than can be drawn."""
    pixels = 0
    for segment, number in rows:
        for name in names:
            path = folder.picture(segment, name, number)
            tall, wide = read_header(path).size if path.is_file() else (1, 1)
            pixels += height * max(1, round(wide * height / tall))
    if pixels > LARGEST_PICTURE:
        raise CaptureError(
            f"the sheet would have {pixels:,} pixels; at most {LARGEST_PICTURE:,} are drawn",
            "Ask for a smaller height, or for fewer frames or cameras.",
        )


def _landmarks(folder: CaptureFolder, mesh: Mesh) -> np.ndarray:
    if folder.landmarks.is_file():
        return read_landmarks(folder.landmarks, len(mesh.vertices))
    return choose_landmarks(mean_vertices(folder, mesh))


def _cell(
    folder: CaptureFolder,
    segment: str,
    number: int,
    camera: KrtCamera,
    mesh: Mesh,
    landmarks: np.ndarray,
    height: int,
    wireframe: bool,
) -> Image.Image:
    path = folder.picture(segment, camera.name, number)
    if not path.is_file():
        empty = Image.new("RGB", (height, height), (48, 24, 24))
        ImageDraw.Draw(empty).text((4, 2), f"{camera.name} {segment} {number:06d}: no picture", fill=(255, 255, 255))
        return empty
    picture = Image.fromarray(read_picture(path))
    scale = height / picture.height
    cell = picture.resize((max(1, round(picture.width * scale)), height), Image.Resampling.LANCZOS).convert("RGBA")
    vertices = read_vertices(folder.vertices(segment, number), len(mesh.vertices))
    pose = read_transform(folder.transform(segment, number))
    found = see_mesh(vertices, mesh.triangles, camera, pose, (picture.height, picture.width))
    places = (found.places + 0.5) * scale - 0.5
    layer = Image.new("RGBA", cell.size)
    draw = ImageDraw.Draw(layer)
    if wireframe:
        for a, b in _edges(mesh.triangles[found.front]):
            draw.line([tuple(places[a]), tuple(places[b])], fill=WIRE)
    radius = max(1.0, height / 320)
    for x, y in places[landmarks[found.seen[landmarks]]]:
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=POINT)
    cell = Image.alpha_composite(cell, layer).convert("RGB")
    pen = ImageDraw.Draw(cell)
    pen.rectangle([0, 0, cell.width, LABEL], fill=(0, 0, 0))
    pen.text((4, 1), f"{camera.name}  {segment} {number:06d}", fill=(255, 255, 255))
    return cell


def _edges(triangles: np.ndarray) -> np.ndarray:
    """Choose the edges (E, 2) to draw: the boundary of the triangles (F, 3), and of the rest about `EDGES`, evenly."""
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    each, count = np.unique(edges, axis=0, return_counts=True)
    some = edges.reshape(-1, 3, 2)[:: max(1, -(-len(edges) // EDGES))].reshape(-1, 2)
    return np.unique(np.concatenate([each[count == 1], some]), axis=0)
