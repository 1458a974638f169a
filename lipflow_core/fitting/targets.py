"""Which frames are fitted, and loading what fitting needs of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lipflow_core.errors import CaptureError
from lipflow_core.frames import check_finite
from lipflow_core.interfaces import Capture, FrameRequest, Split
from lipflow_core.planning import Blueprint
from lipflow_core.records import Frame
from lipflow_core.selection import positions


def observations_needed(blueprint: Blueprint) -> tuple[str, ...]:
    """The observations that a spec's fitting looks at: the objectives' and the driving encoder's."""
    needs = [need for objective in blueprint.objectives for need in objective.plan.needs]
    names = [need.partition(":")[2] for need in needs if need.startswith(("render:", "target:"))]
    driving = blueprint.driving.plan.needs if blueprint.driving is not None else ()
    return tuple(dict.fromkeys([*names, *driving]))


def open_split(capture: Capture, name: str) -> Split:
    """A split of a capture, which must have frames.

    Raises:
        CaptureError: If there is no such split, or it is empty.
    """
    split = capture.split(name)
    if len(split) == 0:
        raise CaptureError(f"split '{name}' of the capture has no frames", hint="choose another split or capture")
    return split


def load_frames(split: Split, indices: np.ndarray, observations: Sequence[str]) -> Frame:
    """Load frames with the named observations, of the dome all cameras.

    Args:
        split: A split of a capture.
        indices: (B,) positions within it.
        observations: Names; duplicates are ignored.

    Raises:
        CaptureError: If a frame is damaged or holds NaN or infinity.
    """
    names = tuple(dict.fromkeys(observations))
    cameras = np.tile(np.arange(len(split.cameras)), (len(indices), 1)) if "dome" in names else None
    frame = split.load(FrameRequest(np.asarray(indices), names, cameras))
    check_finite(frame)
    return frame


def select(split: Split, text: str) -> np.ndarray:
    """Find the positions of the frames of a split that a user names; see `lipflow_core.selection.positions`."""
    return positions(split.segments, split.numbers, text)


def file_stem(segment: str, number: int) -> str:
    """A file name that names a frame: its segment's letters, digits, dots, dashes and underscores."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in segment)
    return f"{safe}-{number:06d}"
