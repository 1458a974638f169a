"""Tracked meshes: vertices without header, topology as .obj, head poses as text. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lipflow_core.errors import CaptureError
from lipflow_multiface.layout import CaptureFolder, read_text


@dataclass(frozen=True)
class Mesh:
    """What an .obj file holds.

    Args:
        vertices: (V, 3) float32 millimetres.
        uv: (U, 2) float32, v up.
        triangles: (F, 3) int64 indices into the vertices, from 0.
        uv_triangles: (F, 3) int64 indices into `uv`, from 0.
    """

    vertices: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray
    uv_triangles: np.ndarray


def read_vertices(path: Path, count: int) -> np.ndarray:
    """(count, 3) float32 from a file of nothing but little-endian float32 numbers.

    Raises:
        CaptureError: If it is missing, of another length, or holds NaN or infinity.
    """
    try:
        values = np.fromfile(path, "<f4")
    except OSError as error:
        raise CaptureError(f"{path} can't be read: {error.strerror or error}") from error
    if values.size != 3 * count or path.stat().st_size != 12 * count:
        size = path.stat().st_size
        raise CaptureError(f"{path} has {size} bytes, {size / 12:g} vertices; the topology has {count} vertices")
    if not np.isfinite(values).all():
        raise CaptureError(f"{path} holds NaN or infinity")
    return values.reshape(count, 3)


def read_transform(path: Path) -> np.ndarray:
    """(3, 4) [R|t], head → world. Raises a CaptureError if it is missing or not three lines of four numbers."""
    rows = [line.split() for line in read_text(path).splitlines() if line.strip()]
    try:
        # Some tools append the homogeneous row.
        if len(rows) == 4 and [float(word) for word in rows[3]] == [0, 0, 0, 1]:
            rows.pop()
        matrix = np.array([[float(word) for word in row] for row in rows])
    except ValueError as error:
        raise CaptureError(f"{path} is not three lines of four numbers: {error}") from error
    if matrix.shape != (3, 4) or not np.isfinite(matrix).all():
        raise CaptureError(f"{path} is not three lines of four numbers")
    return matrix


def format_transform(pose: np.ndarray) -> str:
    """The text that `read_transform` reads back to the same float64 numbers; pose: (3, 4)."""
    return "\n".join(" ".join(repr(float(value)) for value in row) for row in pose) + "\n"


def read_mesh(path: Path) -> Mesh:
    """Read `v`, `vt` and `f a/b …` lines; indices count from 1; polygons become fans of triangles.

    Raises:
        CaptureError: With the line number, if a line can't be read or an index leads nowhere.
    """
    lines = read_text(path).splitlines()
    mesh = _parse_plain(lines) or _parse(path, lines)
    for what, index, limit in (
        ("vertex", mesh.triangles, len(mesh.vertices)),
        ("texture coordinate", mesh.uv_triangles, len(mesh.uv)),
    ):
        if not index.size:
            raise CaptureError(f"{path} has no faces")
        if index.min() < 0 or index.max() >= limit:
            worst = index.max() + 1 if index.max() >= limit else index.min() + 1
            raise CaptureError(f"{path}: a face names {what} {worst}; they are counted from 1 to {limit}")
    return mesh


def _parse_plain(lines: list[str]) -> Mesh | None:
    """The mesh of a file of nothing but triangles "f a/b c/d e/f" and numbers, several times as fast; else None."""
    corners = [line[2:] for line in lines if line.startswith("f ")]
    if not all(line.count("/") == 3 for line in corners):
        return None
    try:
        vertices = np.array(" ".join(line[2:] for line in lines if line.startswith("v ")).split(), np.float64)
        uv = np.array(" ".join(line[3:] for line in lines if line.startswith("vt ")).split(), np.float64)
        indices = np.array(" ".join(corners).replace("/", " ").split(), np.int64).reshape(len(corners), 3, 2) - 1
        count = sum(line.startswith("v ") for line in lines), sum(line.startswith("vt ") for line in lines)
        return Mesh(
            vertices.reshape(count[0], 3).astype(np.float32),
            uv.reshape(count[1], 2).astype(np.float32),
            indices[..., 0].copy(),
            indices[..., 1].copy(),
        )
    except ValueError:
        return None


def _parse(path: Path, lines: list[str]) -> Mesh:
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    uv_triangles: list[tuple[int, int, int]] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        try:
            match words:
                case ["v", x, y, z, *_]:
                    vertices.append([float(x), float(y), float(z)])
                case ["vt", u, v, *_]:
                    uv.append([float(u), float(v)])
                case ["f", *corners] if len(corners) >= 3:
                    pairs = [corner.split("/") for corner in corners]
                    a, b = [int(pair[0]) - 1 for pair in pairs], [int(pair[1]) - 1 for pair in pairs]
                    for second in range(1, len(pairs) - 1):
                        triangles.append((a[0], a[second], a[second + 1]))
                        uv_triangles.append((b[0], b[second], b[second + 1]))
                case ["f" | "v" | "vt", *_]:
                    raise ValueError("too few entries")
        except (ValueError, IndexError) as error:
            raise CaptureError(f"{path}:{number}: can't be read as a mesh with texture coordinates: {error}") from error
    return Mesh(
        np.array(vertices, np.float32).reshape(-1, 3),
        np.array(uv, np.float32).reshape(-1, 2),
        np.array(triangles, np.int64).reshape(-1, 3),
        np.array(uv_triangles, np.int64).reshape(-1, 3),
    )


def format_mesh(mesh: Mesh) -> str:
    """The text of an .obj file that `read_mesh` reads back to the same float32 numbers."""
    return format_mesh_vertices(mesh.vertices) + format_mesh_topology(mesh)


def format_mesh_vertices(vertices: np.ndarray) -> str:
    """The lines of an .obj file that differ from frame to frame."""
    return "".join(f"v {x:.9g} {y:.9g} {z:.9g}\n" for x, y, z in vertices.tolist())


def format_mesh_topology(mesh: Mesh) -> str:
    """The lines of an .obj file that are the same in every frame."""
    lines = [f"vt {u:.9g} {v:.9g}\n" for u, v in mesh.uv.tolist()]
    for (a, b, c), (d, e, f) in zip((mesh.triangles + 1).tolist(), (mesh.uv_triangles + 1).tolist(), strict=True):
        lines.append(f"f {a}/{d} {b}/{e} {c}/{f}\n")
    return "".join(lines)


def find_mesh(folder: CaptureFolder, frames: list[tuple[str, int]]) -> Path:
    """The .obj file to take the topology from: the first listed frame's that exists, else any.

    Raises:
        CaptureError: If the capture has none.
    """
    for segment, number in frames:
        path = folder.mesh(segment, number)
        if path.is_file():
            return path
    for path in sorted(folder.meshes.glob("*/*.obj")):
        return path
    raise CaptureError(f"{folder.meshes} has no .obj file to take the mesh's topology from", "Download at least one.")


def read_number(path: Path) -> float:
    """The one number in a text file. Raises a CaptureError if it is missing, no number, or not positive."""
    try:
        value = float(read_text(path).split()[0])
    except (ValueError, IndexError) as error:
        raise CaptureError(f"{path} does not hold a number") from error
    if not (np.isfinite(value) and value > 0):
        raise CaptureError(f"{path} holds {value:g}; a variance is a positive number")
    return value
