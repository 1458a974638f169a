"""The KRT file: calibrated cameras as text. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lipflow_core.errors import CaptureError
from lipflow_multiface.layout import Line, read_text

_ROWS = (("K", 3, 3), ("distortion", 1, 5), ("[R|t]", 3, 4))


@dataclass(frozen=True)
class KrtCamera:
    """One calibrated camera.

    Args:
        name: Its name; the name of its folder of pictures.
        intrinsics: (3, 3) pixels.
        distortion: (5,) k1 k2 p1 p2 k3 of OpenCV's model.
        extrinsics: (3, 4) [R|t], world → camera, OpenCV axes, millimetres.
        line: Where it stands in its file, from 1.
    """

    name: str
    intrinsics: np.ndarray
    distortion: np.ndarray
    extrinsics: np.ndarray
    line: int = 0


def parse_krt(text: str) -> tuple[list[KrtCamera], list[Line]]:
    """Read cameras: name, K in three lines, five distortion values, [R|t] in three lines, then a blank line.

    Returns:
        The cameras that could be read, in order; and what is wrong, line by line. After a bad line the reader goes on
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
            wrong.append(Line(start, f"camera '{name}' stands in line {cameras[name].line} already"))
            continue
        cameras[name] = camera
    return list(cameras.values()), wrong


def read_krt(path: Path) -> list[KrtCamera]:
    """Cameras of a KRT file, in its order. Raises a CaptureError with the line number of the first bad line."""
    cameras, wrong = parse_krt(read_text(path))
    if wrong:
        raise CaptureError(
            f"{path}:{wrong[0].number}: {wrong[0].problem}",
            "Correct the file; `lipflow-core capture validate` lists all.",
        )
    if not cameras:
        raise CaptureError(f"{path} has no cameras", "Download or write the capture again.")
    return cameras


def format_krt(cameras: Sequence[KrtCamera]) -> str:
    """The text that `parse_krt` reads back to the same float64 numbers."""
    lines = []
    for camera in cameras:
        lines.append(camera.name)
        lines += [_row(values) for values in camera.intrinsics]
        lines.append(_row(camera.distortion))
        lines += [_row(values) for values in camera.extrinsics]
        lines.append("")
    return "\n".join(lines) + "\n"


def rotation_problem(rotation: np.ndarray, tolerance: float = 1e-3) -> str | None:
    """What keeps a (3, 3) matrix from being a rotation, or None."""
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if not error <= tolerance:
        return f"is no rotation: R·Rᵀ differs from the identity by {error:.2g}"
    if np.linalg.det(rotation) < 0:
        return "is a reflection: its determinant is −1"
    return None


class _BadLine(Exception):
    def __init__(self, number: int, problem: str):
        super().__init__(problem)
        self.line = Line(number, problem)


def _blocks(text: str) -> list[tuple[int, list[str]]]:
    """Runs of lines that are not blank, each with the number of its first."""
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
