"""Loads, checks and augments batches in advance of their steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from lipflow_core.interfaces import FrameRequest, ObservationEncoder, Split
from lipflow_core.records import Frame
from lipflow_core.training.randomness import Draw, Purpose, Sampler, latent_noise, stream
from lipflow_core.training.stage_loss import Batch

T = TypeVar("T")


@dataclass(frozen=True)
class BatchMaker:
    """Makes the batch of any step, in any order and from any thread.

    Args:
        split: Split that frames are loaded from.
        observations: Names of the observations to load.
        driving: Encoder that augments its observation; None for no augmentation.
        sampler: Sampler that chooses the frames of each step.
        code: Size of the latent code.
    """

    split: Split
    observations: tuple[str, ...]
    driving: ObservationEncoder | None
    sampler: Sampler
    code: int

    def training(self, step: int, rank: int) -> Batch:
        """Make the batch of `rank` at `step` of the stage."""
        sampler = self.sampler
        draw = sampler.draw(step, rank)
        frame = self._load(draw)
        seen = frame
        if self.driving is not None:
            name = self.driving.modality
            streams = [
                stream(sampler.seed, Purpose.AUGMENTATION, sampler.stage, int(epoch), int(index))
                for epoch, index in zip(draw.epochs, draw.indices, strict=True)
            ]
            changed = self.driving.augment(frame[name], streams)
            seen = replace(frame, observations={**frame.observations, name: changed})
        noise = latent_noise(sampler.seed, sampler.stage, step, rank, sampler.batch, self.code)
        return Batch(frame, seen, torch.from_numpy(noise))

    def held_out(self, draw: Draw) -> Batch:
        """Make a batch of frames without augmentation or noise, for the held-out loss."""
        frame = self._load(draw)
        return Batch(frame, frame, None)

    def _load(self, draw: Draw) -> Frame:
        frame = self.split.load(FrameRequest(draw.indices, self.observations, draw.cameras))
        frame.check()
        return frame


def ahead(make: Callable[[int], T], numbers: Iterable[int], workers: int) -> Iterator[T]:
    """Yield `make(number)` for each number, in order; threads compute the results in advance.

    Args:
        make: Function to call from the threads.
        numbers: Arguments to call it with.
        workers: Number of threads; 0 computes each result when it is requested.
    """
    if workers == 0:
        yield from map(make, numbers)
        return
    waiting: deque[Future[T]] = deque()
    remaining = iter(numbers)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="lipflow-batch")
    try:
        for number in remaining:
            waiting.append(pool.submit(make, number))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
