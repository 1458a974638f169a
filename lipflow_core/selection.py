"""Chooses frames: those that a user names by the grammar of `--frames`, or an even spread. Imports no torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from lipflow_core.errors import SpecError, UsageError


def positions(segments: Sequence[str], numbers: Sequence[int] | np.ndarray, text: str) -> np.ndarray:
    """Find the positions of the frames that a user names.

    Args:
        segments: Segment of each frame, in order.
        numbers: Frame number of each.
        text: Comma-separated: a position "5", a range "0:32" or "0:320:10" as in Python, a segment "EXP_smile", or
            one frame of it "EXP_smile/000123".

    Returns:
        (N,) int64 in the order named, without repeats.

    Raises:
        SpecError: If a piece is of no such form.
        UsageError: If there is no such frame.

    Example:
        >>> positions(["smile", "smile", "frown"], [0, 4, 0], "frown,smile/000004,0")
        array([2, 1, 0])
    """
    chosen: list[int] = []
    for piece in filter(None, (part.strip() for part in text.split(","))):
        found = _of_piece(segments, numbers, piece)
        if not found:
            there = sorted(set(segments))
            raise UsageError(
                f"there is no frame '{piece}' among these {len(segments)} frames of {len(there)} segments",
                hint="name positions such as 5, ranges such as 0:32, segments, or frames of them such as "
                f"SEGMENT/000004; the segments: {_few(there)}",
            )
        chosen += found
    if not chosen:
        raise SpecError(f"frames '{text}': no frame is named", hint="name some, such as 0:32 or SEGMENT/NUMBER")
    return np.array(list(dict.fromkeys(chosen)), dtype=np.int64)


def spread(count: int, total: int) -> np.ndarray:
    """Choose at most `count` of `total` positions, evenly spread from the first to the last; (N,) int64, rising."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64))


def file_stem(segment: str, number: int) -> str:
    """Make a file name for a frame: its segment's letters, digits, dots, dashes and underscores.

    Segments with other characters get a hash too, so that no two of them share a name.
    """
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in segment)
    told_apart = "" if safe == segment else f"-{hashlib.sha256(segment.encode()).hexdigest()[:8]}"
    return f"{safe}{told_apart}-{number:06d}"


def _of_piece(segments: Sequence[str], numbers: Sequence[int] | np.ndarray, piece: str) -> list[int]:
    if re.fullmatch(r"-?\d*(:-?\d*){1,2}", piece):
        bounds = [int(number) if number else None for number in piece.split(":")]
        if len(bounds) == 3 and bounds[2] == 0:
            raise SpecError(f"frames '{piece}': the step is 0", hint="use a step of 1 or more")
        return list(range(len(segments)))[slice(*bounds)]
    if re.fullmatch(r"\d+", piece):
        return [int(piece)] if int(piece) < len(segments) else []
    segment, slash, number = piece.rpartition("/")
    if not slash:
        segment = piece
    elif not number.isdecimal():
        raise SpecError(f"frames '{piece}': '{number}' is not a frame number", hint="write SEGMENT/NUMBER")
    wanted = int(number) if slash else None
    return [
        i
        for i, (name, frame) in enumerate(zip(segments, numbers, strict=True))
        if name == segment and wanted in (None, int(frame))
    ]


def _few(names: Sequence[str], count: int = 12) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")
