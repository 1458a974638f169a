"""Counter-based randomness: the draws of a step depend on the seed and the step's position, never on earlier draws.

Every draw comes from a Philox stream of its own, keyed by seed and purpose and counted by up to three numbers. Resuming
a run therefore needs no generator's state, and the number of threads that prepare batches changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np

from lipflow_core.selection import spread


class Purpose(IntEnum):
    """The purpose of a stream; streams of different purposes are independent."""

    PERMUTATION = 1
    CAMERAS = 2
    AUGMENTATION = 3
    LATENT = 4
    MODULES = 5
    HELD_OUT_CAMERAS = 6
    INITIALIZATION = 7


def stream(seed: int, purpose: Purpose, *counters: int) -> np.random.Generator:
    """Make the stream of random numbers for a purpose at up to three counters.

    Args:
        seed: Seed of the run.
        purpose: Purpose of the stream.
        counters: Up to three numbers, such as stage, epoch and index.
    """
    words = np.zeros(4, dtype=np.uint64)  # Philox itself counts in the first word
    words[1 : 1 + len(counters)] = counters
    key = np.array([seed, purpose], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=words))


@dataclass(frozen=True)
class Draw:
    """The frames and cameras of one rank's batch.

    Args:
        indices: (B,) positions within the split.
        epochs: (B,) epoch of each frame, the number of times that it was drawn before.
        cameras: (B, N) positions of the drawn cameras among those of the training views.
    """

    indices: np.ndarray
    epochs: np.ndarray
    cameras: np.ndarray


@dataclass(frozen=True)
class Sampler:
    """Walks through the training split in a new random order each epoch, without dropping a frame.

    All ranks together take `world · batch` consecutive positions of the walk at each step; each takes its share.

    Args:
        seed: Seed of the run.
        stage: Number of the stage.
        frames: Number of frames in the split.
        cameras: Number of cameras of the training views.
        views: Number of cameras drawn for each frame; 0 if no pictures are needed.
        batch: Number of frames for each rank and step.
        world: Number of ranks.
    """

    seed: int
    stage: int
    frames: int
    cameras: int
    views: int
    batch: int
    world: int = 1

    def draw(self, step: int, rank: int = 0) -> Draw:
        """Draw the frames and cameras of `rank` at `step`."""
        first = (step * self.world + rank) * self.batch
        epochs, places = np.divmod(np.arange(first, first + self.batch), self.frames)
        orders = {epoch: _permutation(self.seed, self.stage, int(epoch), self.frames) for epoch in np.unique(epochs)}
        indices = np.array([orders[epoch][place] for epoch, place in zip(epochs, places, strict=True)], dtype=np.int64)
        views = [self._views(int(epoch), int(index)) for epoch, index in zip(epochs, indices, strict=True)]
        return Draw(indices, epochs, np.stack(views))

    def _views(self, epoch: int, index: int) -> np.ndarray:
        if self.views == 0:
            return np.zeros(0, dtype=np.int64)
        order = stream(self.seed, Purpose.CAMERAS, self.stage, epoch, index).permutation(self.cameras)
        return order[: self.views]


@lru_cache(maxsize=4)
def _permutation(seed: int, stage: int, epoch: int, frames: int) -> np.ndarray:
    return stream(seed, Purpose.PERMUTATION, stage, epoch).permutation(frames)


def held_out_draw(seed: int, frames: int, count: int, cameras: int, views: int) -> Draw:
    """Draw the fixed frames of the held-out loss, spread evenly over the split.

    Args:
        seed: Seed of the run; it chooses the cameras.
        frames: Number of frames in the split.
        count: Largest number of frames to draw.
        cameras: Number of cameras of the training views.
        views: Number of cameras for each frame.
    """
    indices = spread(count, frames)
    chosen = [stream(seed, Purpose.HELD_OUT_CAMERAS, int(index)).permutation(cameras)[:views] for index in indices]
    return Draw(indices, np.zeros_like(indices), np.stack(chosen))


def latent_noise(seed: int, stage: int, step: int, rank: int, batch: int, code: int) -> np.ndarray:
    """Draw standard normal noise for the codes of a step, (batch, code) float32; each row has its own stream."""
    rows = [
        stream(seed, Purpose.LATENT, stage, step, rank * batch + place).standard_normal(code, dtype=np.float32)
        for place in range(batch)
    ]
    return np.stack(rows)


def module_seed(seed: int, stage: int, step: int, rank: int) -> int:
    """Draw the seed of torch's global generators at a step, since modules such as dropout use them."""
    return int(stream(seed, Purpose.MODULES, stage, step, rank).integers(2**62))
