"""The held-out loss: the objective on fixed frames, with every part in evaluation mode and Q's mean as the code."""

from __future__ import annotations

from contextlib import closing
from functools import cached_property

import torch

from lipflow_core.training.batches import ahead
from lipflow_core.training.learning import set_modes
from lipflow_core.training.objective import Batch, Objective, final_latent_weight
from lipflow_core.training.preparation import batch_maker
from lipflow_core.training.randomness import Draw, held_out_draw
from lipflow_core.training.run import Run


class HeldOut:
    """Takes the held-out loss of a stage; the frames are shared out among all ranks.

    Args:
        run: The run.
        objective: Of the stage.
    """

    def __init__(self, run: Run, objective: Objective):
        self.run = run
        self.objective = objective
        self._maker = batch_maker(run, objective, "held-out")

    def loss(self) -> tuple[float, dict[str, float]]:
        """Loss and unweighted terms by name, means over the frames."""
        run, objective = self.run, self.objective
        fabric = run.fabric
        self._agree_on_buffers()
        dtype = run.avatar.template_buffers.vertices_mean.dtype
        weight = final_latent_weight(objective.stage)
        sums = torch.zeros(len(objective.needs.terms) + 2, dtype=torch.float64, device=fabric.device)
        set_modes(run.avatar, objective.stage, learning=False)
        loading = closing(ahead(self._batch, range(0, len(self._draw.indices), self._size), run.spec.training.workers))
        with torch.no_grad(), fabric.autocast(), loading as batches:
            for batch in batches:
                loss, terms, _ = objective(batch.to(fabric.device, dtype), weight)
                sums += len(batch) * torch.cat([loss.view(1), terms, torch.ones_like(loss).view(1)])
        set_modes(run.avatar, objective.stage, learning=True)
        sums = fabric.all_reduce(sums, reduce_op="sum")
        mean, *terms = (sums[:-1] / sums[-1]).tolist()
        return mean, dict(zip(objective.needs.terms, terms, strict=True))

    @cached_property
    def _draw(self) -> Draw:
        """This rank's share of the frames."""
        run, sampler = self.run, self._maker.sampler
        count = run.spec.training.evaluate_frames
        every = held_out_draw(run.spec.seed, sampler.frames, count, sampler.cameras, sampler.views)
        return _part(every, slice(run.fabric.global_rank, None, run.fabric.world_size))

    @property
    def _size(self) -> int:
        return self.run.spec.training.batch

    def _batch(self, start: int) -> Batch:
        return self._maker.held_out(_part(self._draw, slice(start, start + self._size)))

    def _agree_on_buffers(self) -> None:
        """Give every rank the first one's running statistics, which are those that are saved."""
        if self.run.fabric.world_size > 1:
            for buffer in self.run.avatar.buffers():
                torch.distributed.broadcast(buffer, 0)


def _part(draw: Draw, rows: slice) -> Draw:
    return Draw(draw.indices[rows], draw.epochs[rows], draw.cameras[rows])
