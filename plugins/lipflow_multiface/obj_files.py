"""The files .obj: a frame's mesh with its topology, as text. Imports no torch."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lipflow_core.errors import CaptureError
from lipflow_multiface.layout import CaptureFolder
from lipflow_multiface.small_files import read_text
from lipflow_multiface.tracked_mesh import vertex_problem

_NUMBER = r"-?\d+\.?\d*(?:[eE][-+]?\d+)?"
_CORNER = r"\d{1,9}/\d{1,9}"
_VERTICES = re.compile(rf"(?:v {_NUMBER} {_NUMBER} {_NUMBER}\n)+")
_TOPOLOGY = re.compile(rf"((?:vt {_NUMBER} {_NUMBER}\n)+)((?:f {_CORNER} {_CORNER} {_CORNER}\n)+)")


@dataclass(frozen=True)
class Mesh:
    """The content of an .obj file.

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


def read_mesh(path: Path) -> Mesh:
    """Read the lines `v`, `vt` and `f a/b …`; indices count from 1; polygons become fans of triangles.

    Raises:
        CaptureError: If a line can't be read (with its number), a face names what does not exist, or a number is NaN,
            infinite or absurd.
    """
    text = read_text(path)
    mesh = _parse_plain(text) or _parse(path, text.splitlines())
    for what, index, limit in (
        ("vertex", mesh.triangles, len(mesh.vertices)),
        ("texture coordinate", mesh.uv_triangles, len(mesh.uv)),
    ):
        if not index.size:
            raise CaptureError(f"{path} has no faces")
        if index.min() < 0 or index.max() >= limit:
            worst = index.max() + 1 if index.max() >= limit else index.min() + 1
            raise CaptureError(f"{path}: a face names {what} {worst}; they are counted from 1 to {limit}")
    if problem := vertex_problem(mesh.vertices):
        raise CaptureError(f"{path} {problem}")
    if not np.isfinite(mesh.uv).all():
        raise CaptureError(f"{path} holds NaN or infinity in its texture coordinates")
    return mesh


def find_mesh(folder: CaptureFolder, frames: Sequence[tuple[str, int]]) -> Path:
    """Find the .obj file to take the topology from: that of the first listed frame that has one, else any.

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


def _parse_plain(text: str) -> Mesh | None:
    """Parse a file of plain blocks `v`, `vt` and triangles `f a/b c/d e/f`, several times as fast; None for others."""
    head, _, tail = text.partition("\nvt ")
    if not _VERTICES.fullmatch(head + "\n"):
        return None
    topology = _plain_topology("vt " + tail)
    if topology is None:
        return None
    return Mesh(_numbers(head, "v ", 3), *topology)


@functools.lru_cache(maxsize=2)
def _plain_topology(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Parse the blocks `vt` and `f` into uv and two kinds of triangles; all frames of a capture share their text."""
    blocks = _TOPOLOGY.fullmatch(text)
    if blocks is None:
        return None
    corners = np.fromstring(blocks[2].replace("f ", "").replace("/", " "), np.int64, sep=" ").reshape(-1, 3, 2) - 1
    return _numbers(blocks[1], "vt ", 2), corners[..., 0].copy(), corners[..., 1].copy()


def _numbers(lines: str, word: str, columns: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.fromstring(lines.replace(word, ""), np.float64, sep=" ").reshape(-1, columns).astype(np.float32)


def _parse(path: Path, lines: Sequence[str]) -> Mesh:
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    uv_triangles: list[tuple[int, int, int]] = []
    for number, line in enumerate(lines, 1):
        try:
            match line.partition("#")[0].split():
                case ["v", x, y, z, *_]:
                    vertices.append([float(x), float(y), float(z)])
                case ["vt", u, v, *_]:
                    uv.append([float(u), float(v)])
                case ["f", *corners] if len(corners) >= 3:
                    a, b = zip(*map(_corner, corners), strict=True)
                    for second in range(1, len(corners) - 1):
                        triangles.append((a[0], a[second], a[second + 1]))
                        uv_triangles.append((b[0], b[second], b[second + 1]))
                case ["f" | "v" | "vt", *_]:
                    raise ValueError("the line has too few entries")
        except ValueError as error:
            raise CaptureError(f"{path}:{number}: can't be read as a mesh with texture coordinates: {error}") from error
    with np.errstate(over="ignore"):
        return Mesh(
            np.array(vertices, np.float64).reshape(-1, 3).astype(np.float32),
            np.array(uv, np.float64).reshape(-1, 2).astype(np.float32),
            np.array(triangles, np.int64).reshape(-1, 3),
            np.array(uv_triangles, np.int64).reshape(-1, 3),
        )


def _corner(text: str) -> tuple[int, int]:
    """Give the vertex and the texture coordinate, from 0, of a corner such as "12/34" or "12/34/56"."""
    vertex, *others = text.split("/")
    if not others or not others[0]:
        raise ValueError(f"the corner '{text[:40]}' has no texture coordinate; expected 'VERTEX/TEXTURE'")
    one, other = int(vertex), int(others[0])
    if not (0 < one < 1 << 40 and 0 < other < 1 << 40):
        raise ValueError(f"the corner '{text[:40]}' does not count from 1")
    return one - 1, other - 1
