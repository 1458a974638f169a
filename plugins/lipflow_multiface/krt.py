"""The file KRT: calibrated cameras as text. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lipflow_kit.lenses import largest_distortion

from lipflow_core.errors import CaptureError
from lipflow_multiface.layout import name_problem
from lipflow_multiface.small_files import Line, read_text

FARTHEST = 1e6
"""Largest length in a capture, millimetres: one kilometre. Larger numbers are slips or other units."""

LONGEST_FOCAL = 1e6
"""Largest number in K, pixels. A camera of a dome has some thousands."""

_ROWS = (("K", 3, 3), ("distortion", 1, 5), ("[R|t]", 3, 4))


@dataclass(frozen=True)
class KrtCamera:
    """Holds the calibration of one camera.

    Args:
        name: Name of the camera, and of its folder of pictures.
        intrinsics: (3, 3) pixels.
        distortion: (5,) k1 k2 p1 p2 k3 of OpenCV's model.
        extrinsics: (3, 4) [R|t], world → camera, OpenCV axes, millimetres.
        line: Number of the camera's first line in the file, counted from 1.
    """

    name: str
    intrinsics: np.ndarray
    distortion: np.ndarray
    extrinsics: np.ndarray
    line: int = 0


def parse_krt(text: str) -> tuple[list[KrtCamera], list[Line]]:
    """Parse cameras: name, K in three lines, five distortion values, [R|t] in three lines, a blank line.

    Returns:
        The cameras that could be read, in order; and what is wrong, line by line. After a bad line, reading goes on
        behind the next blank one.
    """
    cameras: dict[str, KrtCamera] = {}
    wrong: list[Line] = []
    for start, block in _blocks(text):
        name = block[0].strip()
        try:
            camera = _camera(name, start, block)
        except _BadLine as error:
            wrong.append(error.line)
            continue
        if name in cameras:
            wrong.append(Line(start, f"camera '{name}' is defined in line {cameras[name].line} already"))
            continue
        cameras[name] = camera
    return list(cameras.values()), wrong


def read_krt(path: Path) -> list[KrtCamera]:
    """Read the cameras of a KRT file, in its order.

    Raises:
        CaptureError: If a line can't be read or a camera can't be calibrated so, with the number of its line.
    """
    cameras, wrong = parse_krt(read_text(path))
    wrong += [Line(camera.line, problem) for camera in cameras if (problem := calibration_problem(camera))]
    if wrong:
        raise CaptureError(
            f"{path}:{wrong[0].number}: {wrong[0].problem}",
            "Correct the file; `lipflow-core capture validate` lists all bad lines.",
        )
    if not cameras:
        raise CaptureError(f"{path} has no cameras", "Download or write the capture again.")
    return cameras


def format_krt(cameras: Sequence[KrtCamera]) -> str:
    """Give the text that `parse_krt` reads back to the same float64 numbers."""
    lines = []
    for camera in cameras:
        lines.append(camera.name)
        lines += [_row(values) for values in camera.intrinsics]
        lines.append(_row(camera.distortion))
        lines += [_row(values) for values in camera.extrinsics]
        lines.append("")
    return "\n".join(lines) + "\n"


def calibration_problem(camera: KrtCamera) -> str | None:
    """Say why a camera can't be calibrated so, or give None."""
    named = f"camera '{camera.name}'"
    if problem := pose_problem(camera.extrinsics):
        return f"{named}: [R|t] {problem}"
    k = camera.intrinsics
    if not (k[0, 0] > 0 and k[1, 1] > 0) or not np.allclose(k[2], [0, 0, 1]) or abs(k[1, 0]) > 1e-9:
        return f"{named}: K is not [[fx s cx] [0 fy cy] [0 0 1]] with positive focal lengths"
    if np.abs(k).max() > LONGEST_FOCAL or min(k[0, 0], k[1, 1]) < 1:
        return f"{named}: K has focal lengths of {k[0, 0]:g} and {k[1, 1]:g} pixels; expected 1 to {LONGEST_FOCAL:g}"
    if np.abs(camera.distortion).max() > LONGEST_FOCAL:
        return f"{named}: its distortion has a coefficient of {np.abs(camera.distortion).max():g}"
    return None


def lens_problem(camera: KrtCamera, size: tuple[int, int]) -> str | None:
    """Say why a lens can't have taken pictures of this height and width, or give None."""
    moved = largest_distortion(camera.intrinsics, camera.distortion, size)
    if moved < max(size):
        return None
    return f"camera '{camera.name}': its distortion moves points of the picture by {moved:.2g} pixels"


def pose_problem(pose: np.ndarray, tolerance: float = 1e-3) -> str | None:
    """Say why [R|t] (3, 4) is not a rotation with a translation in millimetres, or give None."""
    rotation, translation = pose[:, :3], pose[:, 3]
    with np.errstate(over="ignore", invalid="ignore"):
        error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if not error <= tolerance:
        return f"is no rotation: R·Rᵀ differs from the identity by {error:.2g}"
    if np.linalg.det(rotation) < 0:
        return "is a reflection: the determinant of R is −1"
    if np.abs(translation).max() > FARTHEST:
        return f"moves points by {np.abs(translation).max():.2g} mm; expected at most {FARTHEST:.0e} mm"
    return None


class _BadLine(Exception):
    def __init__(self, number: int, problem: str):
        super().__init__(problem)
        self.line = Line(number, problem)


def _blocks(text: str) -> list[tuple[int, list[str]]]:
    """Split a text at blank lines; each block comes with the number of its first line."""
    blocks: list[tuple[int, list[str]]] = []
    open_block = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            open_block = False
        elif open_block:
            blocks[-1][1].append(line)
        else:
            blocks.append((number, [line]))
            open_block = True
    return blocks


def _camera(name: str, start: int, block: list[str]) -> KrtCamera:
    if problem := name_problem(name):
        raise _BadLine(start, f"the camera {name[:60]!r} {problem}")
    at = 1
    parts = []
    for label, rows, columns in _ROWS:
        values = []
        for row in range(1, rows + 1):
            what = f"camera '{name}': {columns} numbers of {label}" + (f", row {row}" if rows > 1 else "")
            if at >= len(block):
                raise _BadLine(start + at, f"expected {what}, but the camera ends here")
            try:
                numbers = [float(word) for word in block[at].split()]
            except ValueError:
                numbers = []
            if len(numbers) != columns or not np.isfinite(numbers).all():
                raise _BadLine(start + at, f"expected {what}, got {block[at].strip()[:60]!r}")
            values.append(numbers)
            at += 1
        parts.append(np.array(values))
    if at < len(block):
        raise _BadLine(start + at, f"expected a blank line after camera '{name}', got {block[at].strip()[:60]!r}")
    intrinsics, distortion, extrinsics = parts
    return KrtCamera(name, intrinsics, distortion[0], extrinsics, start)


def _row(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in values)
