"""Selects, loads and checks the frames of a split."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch

from lipflow_core.errors import CaptureError, SpecError, UsageError
from lipflow_core.interfaces import Capture, FrameRequest, Split
from lipflow_core.records import Frame


def open_split(capture: Capture, name: str) -> Split:
    """Open a split of a capture that has at least one frame.

    Raises:
        CaptureError: If there is no such split, or it is empty.
    """
    split = capture.split(name)
    if len(split) == 0:
        raise CaptureError(
            f"split '{name}' of the capture has no frames", hint="choose another split, or change the capture's options"
        )
    return split


def load_frames(split: Split, indices: np.ndarray, observations: Sequence[str]) -> Frame:
    """Load frames with the named observations and all cameras of the training views.

    Args:
        split: A split of a capture.
        indices: (B,) positions of the frames within the split.
        observations: Names of the observations; duplicates are ignored.

    Raises:
        CaptureError: If a frame is damaged or holds NaN or infinity.
    """
    cameras = np.tile(np.arange(len(split.cameras)), (len(indices), 1))
    frame = split.load(FrameRequest(np.asarray(indices), tuple(dict.fromkeys(observations)), cameras))
    check_finite(frame)
    return frame


def spread(count: int, total: int) -> np.ndarray:
    """Choose at most `count` of `total` positions, evenly spread from the first to the last; (N,) int64, rising."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64))


def check_finite(frame: Frame) -> None:
    """Raise a CaptureError that names segment, frame and observation if a captured tensor has NaN or infinity."""
    for name, observation in frame.observations.items():
        for label, tensor in observation.tensors():
            # One pass and no temporary: a sum is finite only if everything in it is.
            if tensor.is_floating_point() and not torch.isfinite(tensor.sum()):
                for row, sample in enumerate(tensor):
                    if not torch.isfinite(sample).all():
                        raise CaptureError(
                            f"segment {frame.segments[row]}, frame {int(frame.numbers[row])}: "
                            f"{label} of observation '{name}' holds NaN or infinity",
                            "repair this frame of the capture, or leave it out",
                        )


def select(split: Split, text: str) -> np.ndarray:
    """Find the positions of the frames that a text names.

    Args:
        split: A split of a capture.
        text: Comma-separated list of positions "5", ranges "0:32" or "0:320:10" as in Python, segments "EXP_smile", and
            frames of a segment "EXP_smile/000123".

    Returns:
        (N,) int64 in the order named, without repeats.

    Raises:
        SpecError: If a part of the text is malformed.
        UsageError: If the split has no such frame.
    """
    chosen: list[int] = []
    for piece in filter(None, (part.strip() for part in text.split(","))):
        found = _positions(split, piece)
        if not found:
            raise UsageError(
                f"no frame '{piece}' in this split, which has {len(split)} frames of "
                f"{len(set(split.segments))} segments",
                hint="give positions such as 5, ranges such as 0:32, segments, or frames such as SEGMENT/000004; the "
                f"segments are {_few(sorted(set(split.segments)))}",
            )
        chosen += found
    if not chosen:
        raise SpecError(f"frames '{text}': no frame is named", hint="give some, such as 0:32 or SEGMENT/NUMBER")
    return np.array(list(dict.fromkeys(chosen)), dtype=np.int64)


def file_stem(segment: str, number: int) -> str:
    """Make a file name for a frame: its segment's letters, digits, dots, dashes and underscores."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in segment)
    return f"{safe}-{number:06d}"


def _positions(split: Split, piece: str) -> list[int]:
    if re.fullmatch(r"-?\d*(:-?\d*){1,2}", piece):
        bounds = [int(number) if number else None for number in piece.split(":")]
        if len(bounds) == 3 and bounds[2] == 0:
            raise SpecError(f"frames '{piece}': the step is 0", hint="use a step of 1 or more")
        return list(range(len(split)))[slice(*bounds)]
    if re.fullmatch(r"\d+", piece):
        return [int(piece)] if int(piece) < len(split) else []
    segment, slash, number = piece.rpartition("/")
    if not slash:
        segment = piece
    elif not number.isdecimal():
        raise SpecError(f"frames '{piece}': '{number}' is not a frame number", hint="write SEGMENT/NUMBER")
    wanted = int(number) if slash else None
    return [
        i
        for i, (name, frame) in enumerate(zip(split.segments, split.numbers, strict=True))
        if name == segment and wanted in (None, int(frame))
    ]


def _few(names: Sequence[str], count: int = 12) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")
