"""The small files of a capture as text, JSON and arrays. Imports no torch."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lipflow_core.errors import CaptureError
from lipflow_multiface.layout import CaptureFolder, name_problem, unreadable

LARGEST_TEXT = 1 << 28
"""Bytes of the largest text file that is read. An .obj file of 7,306 vertices has one million."""

LARGEST_ARRAYS = 1 << 30
"""Bytes of the largest .npz file, unpacked, that is read. The dome's take 4 kB a frame."""


@dataclass(frozen=True)
class Line:
    """Describes a problem in a line of a text file.

    Args:
        number: Number of the line, counted from 1.
        problem: Description of the problem.
        harmless: Whether the file can still be read.
    """

    number: int
    problem: str
    harmless: bool = False


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        CaptureError: If it is missing, unreadable, too large, or not UTF-8.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise CaptureError(f"{path} is not a regular file")
        if size > LARGEST_TEXT:
            raise CaptureError(f"{path} has {size:,} bytes; text files of a capture have at most {LARGEST_TEXT:,}")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise CaptureError(f"{path} can't be read: it is not text in UTF-8") from error


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises a CaptureError if it can't be read or is not JSON."""
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise CaptureError(f"{path} is nested too deeply") from error
    except ValueError as error:
        raise CaptureError(f"{path} is not JSON: {error}") from error


def read_number(path: Path) -> float:
    """Read the variance in a text file. Raises a CaptureError if it is missing or not a sensible positive number."""
    try:
        value = float(read_text(path).split()[0])
    except (ValueError, IndexError) as error:
        raise CaptureError(f"{path} does not hold a number") from error
    if not 1e-12 < value < 1e12:
        raise CaptureError(f"{path} holds {value:g}; expected a variance, a positive number between 1e-12 and 1e12")
    return value


def parse_frame_list(text: str) -> tuple[list[tuple[str, int]], list[Line]]:
    """Read lines "SEGMENT FRAME".

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
        if problem := name_problem(words[0]):
            wrong.append(Line(number, f"the segment {_short(words[0])} {problem}"))
            continue
        frame = (words[0], int(words[1]))
        if frame in frames:
            problem = f"names {words[0]} {words[1]} again, first in line {frames[frame]}"
            wrong.append(Line(number, problem, harmless=True))
            continue
        frames[frame] = number
    return list(frames), wrong


def read_frame_list(folder: CaptureFolder) -> list[tuple[str, int]]:
    """Read the frames of frame_list.txt, each once. Raises a CaptureError if it is missing or has a bad line."""
    frames, wrong = parse_frame_list(read_text(folder.frame_list))
    bad = [line for line in wrong if not line.harmless]
    if bad:
        raise CaptureError(
            f"{folder.frame_list}:{bad[0].number}: {bad[0].problem}",
            "Correct the file; `lipflow-core capture validate` lists all bad lines.",
        )
    return frames


def read_about(folder: CaptureFolder) -> dict[str, Any]:
    """Read capture.json; empty for a capture that this project did not write. Raises a CaptureError if damaged."""
    if not folder.about.is_file():
        return {}
    about = read_json(folder.about)
    if not isinstance(about, dict):
        raise CaptureError(f"{folder.about} holds no mapping", "Write the capture again.")
    return about


def read_landmarks(path: Path, vertices: int) -> np.ndarray:
    """Read the vertex of each keypoint from a JSON file `{"vertices": [...]}` or a text file of whole numbers.

    Args:
        path: The file.
        vertices: Number of the mesh's vertices.

    Returns:
        (K,) int64.

    Raises:
        CaptureError: If it can't be read or names a vertex that the mesh does not have.
    """
    content = read_json(path) if path.suffix == ".json" else {"vertices": read_text(path).split()}
    listed = content.get("vertices") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not listed or not all(_is_whole(item) for item in listed):
        raise CaptureError(
            f"{path} holds no landmarks: expected a list of whole numbers", 'Write {"vertices": [12, 345, …]}.'
        )
    chosen = [int(item) for item in listed]
    wrong = [vertex for vertex in chosen if not 0 <= vertex < vertices]
    if wrong:
        raise CaptureError(f"{path} names vertex {_short(wrong[0])}; the mesh has vertices 0 to {vertices - 1}")
    return np.array(chosen, np.int64)


def read_regions(path: Path, vertices: int) -> dict[str, np.ndarray]:
    """Read the regions of a mesh from a JSON file `{"eyes": {"vertices": [12, 345], "weights": [1, 0.5]}, ...}`.

    Vertices that a region does not name have weight 0; without `weights`, those that it names have weight 1.

    Args:
        path: The file.
        vertices: Number of the mesh's vertices.

    Returns:
        Region → (V,) float32 weights in [0, 1].

    Raises:
        CaptureError: If it can't be read, names a vertex that the mesh does not have, or has a weight outside [0, 1].
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise CaptureError(f"{path} holds no regions", 'Write {"eyes": {"vertices": [12, 345, …]}, …}.')
    found = {}
    for name, region in content.items():
        where = f"{path}: region {_short(name)}"
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", name):
            raise CaptureError(f"{where} must be named by letters, digits, '-' and '_'")
        listed = region.get("vertices") if isinstance(region, dict) else None
        if not isinstance(listed, list) or not listed or not all(_is_whole(item) for item in listed):
            raise CaptureError(f"{where} has no list 'vertices' of whole numbers")
        wrong = [item for item in listed if not 0 <= int(item) < vertices]
        if wrong:
            raise CaptureError(f"{where} names vertex {_short(wrong[0])}; the mesh has vertices 0 to {vertices - 1}")
        weights = region.get("weights", [1] * len(listed))
        if not isinstance(weights, list) or len(weights) != len(listed) or not all(map(_is_share, weights)):
            raise CaptureError(f"{where}: 'weights' must be one number from 0 to 1 for each of {len(listed)} vertices")
        found[name] = np.zeros(vertices, np.float32)
        found[name][[int(item) for item in listed]] = weights
    return found


def _is_share(item: object) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool) and 0 <= item <= 1


def read_arrays(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read the arrays that lie beside a segment's frames.

    Returns:
        Frame numbers (N,) int64, each once; and arrays (N, …) by name, floats as float32.

    Raises:
        CaptureError: If the file can't be read, or an array is not one of finite numbers with a row for each frame.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST_ARRAYS:
            raise CaptureError(f"{path} holds {size:,} bytes of arrays; at most {LARGEST_ARRAYS:,} are read")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except CaptureError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # zip and npy readers raise many kinds; numpy's text advises to allow pickles
        raise CaptureError(f"{path} is no whole .npz file of plain arrays", "Write the capture again.") from error
    numbers = arrays.pop("numbers", np.zeros((0, 0)))
    if not isinstance(numbers, np.ndarray) or numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise CaptureError(f"{path} has no frame numbers: expected an array 'numbers' (N,) of whole numbers")
    if len(np.unique(numbers)) < len(numbers):
        raise CaptureError(f"{path} names a frame twice in its array 'numbers'")
    return numbers.astype(np.int64), {name: _sound(path, name, array, len(numbers)) for name, array in arrays.items()}


def _sound(path: Path, name: str, array: Any, count: int) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub" or array.shape[:1] != (count,):
        told = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "something else"
        raise CaptureError(f"{path} holds {told} as '{name}'; expected numbers with a row for each of {count} frames")
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise CaptureError(f"{path} holds NaN or infinity in '{name}'")
    return array


def _is_whole(item: object) -> bool:
    if isinstance(item, str):
        return re.fullmatch(r"[0-9]{1,12}", item) is not None
    return isinstance(item, int) and not isinstance(item, bool)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
