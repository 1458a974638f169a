"""Where things lie in a capture: Multiface's folders and files, and this project's own folder beside them.

Imports no torch.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lipflow_core.errors import CaptureError

HELD_OUT = ("EXP_ROM", "EXP_free_face")
"""Segments whose names begin so are held out, as in Multiface's own loader."""

TEXTURES = "unwrapped_uv_1024"
"""Folder of unwrapped textures; its name says 1024 whatever their size."""

AVERAGE = "average"
"""In place of a camera's name: the texture averaged over all cameras."""

EXTRAS = "lipflow"
"""Folder of what Multiface's layout has no place for: headset pictures, landmarks, ground truth."""


@dataclass(frozen=True)
class CaptureFolder:
    """Paths of a capture's files.

    Args:
        root: The capture's folder, such as "m--20180227--0000--6795937--GHS".
    """

    root: Path

    @property
    def frame_list(self) -> Path:
        return self.root / "frame_list.txt"

    @property
    def krt(self) -> Path:
        return self.root / "KRT"

    @property
    def texture_mean(self) -> Path:
        return self.root / "tex_mean.png"

    @property
    def texture_variance(self) -> Path:
        return self.root / "tex_var.txt"

    @property
    def vertices_mean(self) -> Path:
        return self.root / "vert_mean.bin"

    @property
    def vertices_variance(self) -> Path:
        return self.root / "vert_var.txt"

    @property
    def pictures(self) -> Path:
        return self.root / "images"

    @property
    def textures(self) -> Path:
        return self.root / TEXTURES

    @property
    def meshes(self) -> Path:
        return self.root / "tracked_mesh"

    def picture(self, segment: str, camera: str, number: int) -> Path:
        return self.pictures / segment / camera / f"{number:06d}.png"

    def texture(self, segment: str, camera: str, number: int) -> Path:
        return self.textures / segment / camera / f"{number:06d}.png"

    def vertices(self, segment: str, number: int) -> Path:
        return self.meshes / segment / f"{number:06d}.bin"

    def mesh(self, segment: str, number: int) -> Path:
        return self.meshes / segment / f"{number:06d}.obj"

    def transform(self, segment: str, number: int) -> Path:
        return self.meshes / segment / f"{number:06d}_transform.txt"

    @property
    def extras(self) -> Path:
        return self.root / EXTRAS

    @property
    def about(self) -> Path:
        """What wrote the capture, from what; only in captures that this project wrote."""
        return self.extras / "capture.json"

    @property
    def landmarks(self) -> Path:
        """Vertex of each keypoint."""
        return self.extras / "landmarks.json"

    def truth(self, segment: str) -> Path:
        """Arrays over a segment's frames: headset cameras, keypoints, exact ground truth."""
        return self.extras / "frames" / f"{segment}.npz"

    def headset(self, segment: str, camera: str, number: int) -> Path:
        return self.extras / "headset" / segment / camera / f"{number:06d}.png"

    def headset_mask(self, segment: str, camera: str, number: int) -> Path:
        return self.extras / "headset_mask" / segment / camera / f"{number:06d}.png"

    def check(self) -> None:
        """Raise a CaptureError unless the folder is there and looks like a capture."""
        if not self.root.is_dir():
            raise CaptureError(f"there is no folder {self.root}", "Name the folder that holds frame_list.txt and KRT.")
        if not self.krt.is_file() and not self.meshes.is_dir():
            inner = [path.name for path in sorted(self.root.iterdir()) if (path / "KRT").is_file()]
            hint = f"Did you mean {self.root / inner[0]}?" if inner else "It should hold KRT, images, tracked_mesh …"
            raise CaptureError(f"{self.root} is no capture: it has neither KRT nor tracked_mesh", hint)


@dataclass(frozen=True)
class Line:
    """Something wrong in a text file: line number from 1, and what."""

    number: int
    problem: str


def parse_frame_list(text: str) -> tuple[list[tuple[str, int]], list[Line]]:
    """Read "SEGMENT FRAME" lines.

    Returns:
        Frames in the order of the file, each once; and what is wrong, line by line.
    """
    frames: dict[tuple[str, int], int] = {}
    wrong: list[Line] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or not re.fullmatch(r"[0-9]{1,9}", words[1]):
            wrong.append(Line(number, f"expected 'SEGMENT FRAME', such as 'EXP_smile 000102', got {_short(line)}"))
            continue
        frame = (words[0], int(words[1]))
        if frame in frames:
            wrong.append(Line(number, f"names {words[0]} {words[1]} again, first in line {frames[frame]}"))
            continue
        frames[frame] = number
    return list(frames), wrong


def read_text(path: Path) -> str:
    """A text file's content. Raises a CaptureError that names it if it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise CaptureError(f"{path} is missing", "Download or write the capture again.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CaptureError(f"{path} can't be read: {error}") from error


def read_frame_list(folder: CaptureFolder) -> list[tuple[str, int]]:
    """Frames that frame_list.txt names, each once. Raises a CaptureError if it is missing or has a bad line."""
    frames, wrong = parse_frame_list(read_text(folder.frame_list))
    bad = [line for line in wrong if "again" not in line.problem]
    if bad:
        raise CaptureError(
            f"{folder.frame_list}:{bad[0].number}: {bad[0].problem}", "`lipflow-core capture validate` lists all."
        )
    return frames


def read_about(folder: CaptureFolder) -> dict[str, Any]:
    """What capture.json says; empty for a capture that this project did not write."""
    if not folder.about.is_file():
        return {}
    try:
        about = json.loads(folder.about.read_text(encoding="utf-8"))
        if not isinstance(about, dict):
            raise ValueError("it holds no mapping")
    except (OSError, ValueError) as error:
        raise CaptureError(f"{folder.about} can't be read: {error}", "Write the capture again.") from error
    return about


def read_landmarks(path: Path, vertices: int) -> np.ndarray:
    """(K,) int64 vertex of each keypoint, from a JSON file `{"vertices": [...]}` or a text file of numbers.

    Args:
        path: Of the file.
        vertices: Number of the mesh's vertices.

    Raises:
        CaptureError: If it can't be read or names a vertex that the mesh has not.
    """
    text = read_text(path)
    try:
        chosen = np.array(json.loads(text)["vertices"] if path.suffix == ".json" else [int(w) for w in text.split()])
        if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind != "i":
            raise ValueError("expected a list of whole numbers")
    except (ValueError, KeyError, TypeError) as error:
        raise CaptureError(f"{path} holds no landmarks: {error}", 'Write {"vertices": [12, 345, …]}.') from error
    if chosen.min() < 0 or chosen.max() >= vertices:
        wrong = chosen[(chosen < 0) | (chosen >= vertices)][0]
        raise CaptureError(f"{path} names vertex {wrong}; the mesh has vertices 0 to {vertices - 1}")
    return chosen.astype(np.int64)


def is_held_out(segment: str, prefixes: Sequence[str] = HELD_OUT) -> bool:
    """Whether a segment belongs to the held-out split."""
    return segment.startswith(tuple(prefixes))


def numbers_in(folder: Path, suffix: str) -> set[int]:
    """Frame numbers of the files in a folder whose names are six digits and a suffix; empty if it does not exist."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return set()
    end = len(suffix)
    return {int(name[:-end]) for name in names if name.endswith(suffix) and name[:-end].isdecimal()}


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; none if it does not exist."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
