"""Computes the held-out loss: on fixed frames, with every part in evaluation mode and Q's mean as the code."""

from __future__ import annotations

from contextlib import closing
from functools import cached_property

import torch

from lipflow_core.training.batches import ahead
from lipflow_core.training.learning import set_modes
from lipflow_core.training.preparation import batch_maker
from lipflow_core.training.randomness import Draw, held_out_draw
from lipflow_core.training.run import Run
from lipflow_core.training.stage_loss import Batch, StageLoss, final_weights


class HeldOut:
    """Computes the held-out loss of a stage; the frames are divided among all ranks.

    Args:
        run: Run that the stage belongs to.
        loss: Loss of the stage.
    """

    def __init__(self, run: Run, loss: StageLoss):
        self.run = run
        self.stage_loss = loss
        self._maker = batch_maker(run, loss, "held-out")

    def loss(self) -> tuple[float, dict[str, float]]:
        """Compute the loss, and the unweighted terms by name, averaged over the frames."""
        run, stage_loss = self.run, self.stage_loss
        fabric, training = run.fabric, run.spec.training
        self._agree_on_buffers()
        dtype = run.avatar.template_buffers.vertices_mean.dtype
        weights = final_weights(stage_loss.needs.objectives)
        sums = torch.zeros(len(stage_loss.names) + 2, dtype=torch.float64, device=fabric.device)
        set_modes(run.avatar, stage_loss.stage, learning=False)
        loading = closing(ahead(self._batch, range(0, len(self._draw.indices), training.batch), training.workers))
        with torch.no_grad(), fabric.autocast(), loading as batches:
            for batch in batches:
                loss, terms, _ = stage_loss(batch.to(fabric.device, dtype), weights)
                sums += len(batch) * torch.cat([loss.view(1), terms, torch.ones_like(loss).view(1)])
        set_modes(run.avatar, stage_loss.stage, learning=True)
        sums = fabric.all_reduce(sums, reduce_op="sum")
        mean, *terms = (sums[:-1] / sums[-1]).tolist()
        return mean, dict(zip(stage_loss.names, terms, strict=True))

    @cached_property
    def _draw(self) -> Draw:
        """This rank's share of the frames."""
        run, sampler = self.run, self._maker.sampler
        count = run.spec.training.evaluate_frames
        every = held_out_draw(run.spec.seed, sampler.frames, count, sampler.cameras, sampler.views)
        return _part(every, slice(run.fabric.global_rank, None, run.fabric.world_size))

    def _batch(self, start: int) -> Batch:
        return self._maker.held_out(_part(self._draw, slice(start, start + self.run.spec.training.batch)))

    def _agree_on_buffers(self) -> None:
        """Copy the running statistics of rank 0 to every rank, since those are saved."""
        if self.run.fabric.world_size > 1:
            for buffer in self.run.avatar.buffers():
                torch.distributed.broadcast(buffer, 0)


def _part(draw: Draw, rows: slice) -> Draw:
    return Draw(draw.indices[rows], draw.epochs[rows], draw.cameras[rows])
