"""Finds runs, the consecutive frames of segments, and batches that hold whole runs. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def runs_of(segments: Sequence[str], numbers: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Find the runs among frames: frames of one segment whose numbers rise by one.

    Args:
        segments: N names of segments, in any order.
        numbers: (N,) frame numbers.

    Returns:
        Rows (T,) int64 of each run in the order of its numbers. Each frame is in one run, which may be a single frame.
        Runs come in the order of their first frame's row.

    Example:
        >>> runs_of(["smile", "smile", "frown", "smile"], [4, 3, 5, 6])
        [array([1, 0]), array([2]), array([3])]
    """
    named = np.unique(np.asarray(segments, dtype=str), return_inverse=True)[1].reshape(-1)
    numbers = np.asarray(numbers, dtype=np.int64)
    order = np.lexsort((numbers, named)).astype(np.int64)
    breaks = (np.diff(named[order]) != 0) | (np.diff(numbers[order]) != 1)
    found = np.split(order, np.flatnonzero(breaks) + 1)
    return sorted((run for run in found if len(run)), key=lambda run: int(run[0]))


def batches_of_runs(segments: Sequence[str], numbers: Sequence[int] | np.ndarray, size: int) -> list[np.ndarray]:
    """Divide frames into batches of whole runs.

    Args:
        segments: N names of segments, in any order.
        numbers: (N,) frame numbers.
        size: Largest number of frames in a batch; a longer run is a batch of its own.

    Returns:
        Rows (B,) int64 of each batch. Their order may be another one than that of the frames.

    Example:
        >>> batches_of_runs(["smile", "smile", "frown", "gaze"], [3, 4, 5, 6], 3)
        [array([0, 1, 2]), array([3])]
    """
    batches: list[list[np.ndarray]] = []
    for run in runs_of(segments, numbers):
        if not batches or sum(map(len, batches[-1])) + len(run) > size:
            batches.append([])
        batches[-1].append(run)
    return [np.concatenate(batch) for batch in batches]
