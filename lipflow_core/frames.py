"""Which frames to take, and whether those that were loaded are sound."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lipflow_core.errors import CaptureError
from lipflow_core.records import Frame, Record


def spread(count: int, total: int) -> np.ndarray:
    """At most `count` of `total` positions, evenly spread from the first to the last; (N,) int64, rising."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64))


def check_finite(frame: Frame) -> None:
    """Raise a CaptureError that names segment, frame and observation if a captured tensor holds NaN or infinity."""
    for name, observation in frame.observations.items():
        for label, tensor in _tensors(observation):
            # One pass and no temporary: a sum is finite only if everything in it is.
            if tensor.is_floating_point() and not torch.isfinite(tensor.sum()):
                for row, sample in enumerate(tensor):
                    if not torch.isfinite(sample).all():
                        raise CaptureError(
                            f"segment {frame.segments[row]}, frame {int(frame.numbers[row])}: "
                            f"{label} of observation '{name}' holds NaN or infinity",
                            "repair or leave out this frame of the capture",
                        )


def _tensors(record: Record, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(record).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, Record):
            yield from _tensors(value, f"{name}.")
