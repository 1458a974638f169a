"""A frame's tracked mesh: its vertices as numbers without header, and its head pose as text. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lipflow_core.errors import CaptureError
from lipflow_multiface.krt import FARTHEST, pose_problem
from lipflow_multiface.layout import unreadable
from lipflow_multiface.small_files import read_text


def read_vertices(path: Path, count: int) -> np.ndarray:
    """Read vertices from a file of nothing but little-endian float32 numbers.

    Args:
        path: The file.
        count: Number of vertices of the topology.

    Returns:
        (count, 3) float32 millimetres.

    Raises:
        CaptureError: If it is missing, of another length, or holds NaN, infinity or absurd lengths.
    """
    check_vertex_count(path, count)
    try:
        values = np.fromfile(path, "<f4")
    except OSError as error:
        raise unreadable(path, error) from error
    if problem := vertex_problem(values):
        raise CaptureError(f"{path} {problem}")
    return values.reshape(count, 3)


def check_vertex_count(path: Path, count: int) -> None:
    """Raise a CaptureError unless a file has the length of this number of vertices."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
    if size != 12 * count:
        raise CaptureError(f"{path} has {size} bytes, {size / 12:g} vertices; the topology has {count} vertices")


def vertex_problem(vertices: np.ndarray) -> str | None:
    """Say why numbers can't be the vertices of a head in millimetres, or give None."""
    if not np.isfinite(vertices).all():
        return "holds NaN or infinity"
    farthest = float(np.abs(vertices).max(initial=0))
    if farthest > FARTHEST:
        return f"holds a vertex {farthest:.2g} mm from the head; expected at most {FARTHEST:.0e} mm"
    return None


def read_transform(path: Path) -> np.ndarray:
    """Read the pose [R|t] (3, 4), head → world.

    Raises:
        CaptureError: If it is missing, not three lines of four numbers, or not a rotation with a translation.
    """
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
    if problem := pose_problem(matrix):
        raise CaptureError(f"{path}: [R|t] {problem}")
    return matrix


def format_transform(pose: np.ndarray) -> str:
    """Give the text that `read_transform` reads back to the same float64 numbers; pose: (3, 4)."""
    return "\n".join(" ".join(repr(float(value)) for value in row) for row in pose) + "\n"
