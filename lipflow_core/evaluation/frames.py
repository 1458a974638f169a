"""Chooses the frames of a split that are scored."""

from __future__ import annotations

import numpy as np

from lipflow_core.interfaces import Split
from lipflow_core.selection import spread


def frames_to_score(split: Split, count: int, *, whole_segments: bool = False) -> np.ndarray:
    """Choose at most `count` frames, evenly spread over a split.

    Args:
        split: The split.
        count: Largest number of frames.
        whole_segments: Whether whole segments are chosen, evenly spread, as many as have no more frames than `count`;
            of a segment with more frames the first ones.

    Returns:
        (N,) int64 positions, rising.
    """
    if not whole_segments:
        return spread(count, len(split))
    places: dict[str, list[int]] = {}
    for position, segment in enumerate(split.segments):
        places.setdefault(segment, []).append(position)
    segments = list(places.values())
    for number in range(len(segments), 0, -1):
        chosen = [position for index in spread(number, len(segments)) for position in segments[index]]
        if len(chosen) <= count or number == 1:
            return np.sort(np.array(chosen[:count], dtype=np.int64))
    return np.zeros(0, dtype=np.int64)
