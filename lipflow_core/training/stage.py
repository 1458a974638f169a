"""One stage of training: which parts learn, its steps, its held-out loss and its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from math import inf, isfinite
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lipflow_core.avatar import Avatar
from lipflow_core.errors import CompatibilityError, Interrupted, NumericalError, SpecError
from lipflow_core.interfaces import Capture
from lipflow_core.progress import Progress
from lipflow_core.records import Encoding
from lipflow_core.specs.model import Spec, Stage
from lipflow_core.training.batches import BatchMaker, ahead
from lipflow_core.training.checkpoints import (
    Checkpoint,
    load_optimizer_tensors,
    model_tensors,
    optimizer_tensors,
)
from lipflow_core.training.meter import Meter
from lipflow_core.training.objective import Batch, Objective, final_latent_weight, latent_weight
from lipflow_core.training.randomness import Draw, Purpose, Sampler, held_out_draw, module_seed, stream
from lipflow_core.training.run_directory import Metrics, RunDirectory
from lipflow_core.training.state import RunState, StageSummary
from lipflow_core.weights import load_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DECAY_AFTER = 0.7
"""Share of a stage's steps after which the learning rate decays."""

INITIALIZATION_CODES = 256
"""Codes that a prior is initialised from: fewer wreck activation normalisation (see docs/training.md)."""


@dataclass(frozen=True)
class Run:
    """What all stages of a run share.

    Args:
        spec: The spec.
        fabric: Launched.
        avatar: On the fabric's device.
        capture: Where frames come from.
        directory: Where the run is kept.
        metrics: Its log; None on other ranks than the first.
        state: Where it stands, kept up to date.
        progress: Advanced by each step.
        stop: Asked after each step whether to save and end.
    """

    spec: Spec
    fabric: Fabric
    avatar: Avatar
    capture: Capture
    directory: RunDirectory
    metrics: Metrics | None
    state: RunState
    progress: Progress
    stop: Callable[[], bool]

    def save(self, tensors: dict[str, Tensor]) -> None:
        """Write a checkpoint of the state with these tensors."""
        if self.metrics is not None:
            self.state.metrics_bytes = self.metrics.sync()
            self.directory.checkpoints.save(self.state, tensors)

    def log(self, row: dict[str, object]) -> None:
        """Append to metrics.jsonl."""
        if self.metrics is not None:
            self.metrics.write(row)


def set_modes(avatar: Avatar, stage: Stage, *, learning: bool) -> None:
    """Training mode for the parts that the stage trains, evaluation mode (batch norm included) for all others.

    Args:
        avatar: The model.
        stage: The stage.
        learning: False puts every part in evaluation mode, for the held-out loss.
    """
    avatar.eval()
    if learning:
        for part in _trained(avatar, stage):
            part.train()


def freeze(avatar: Avatar, stage: Stage) -> dict[Tensor, str]:
    """Let gradients reach the parts that the stage trains and no others; the learning parameters and their names.

    Raises:
        lipflow_core.errors.SpecError: If there are none.
    """
    avatar.requires_grad_(False)
    for part in _trained(avatar, stage):
        part.requires_grad_(True)
    names = {parameter: name for name, parameter in avatar.named_parameters() if parameter.requires_grad}
    if not names:
        raise SpecError(
            f"stage '{stage.name}' trains {', '.join(stage.train)}, which have no parameters in this spec",
            "name other parts in the stage's 'train'",
        )
    return names


def _trained(avatar: Avatar, stage: Stage) -> Iterator[torch.nn.Module]:
    for name in stage.train:
        part = avatar.prior_of(stage.name) if name == "prior" else avatar.part(name)
        if part is not None:
            yield part


class StageTraining:
    """Trains one stage of a run, from wherever its state stands.

    Args:
        run: The run; `run.state` names the stage.
        checkpoint: What to go on from; None at the start of a stage.
    """

    def __init__(self, run: Run, checkpoint: Checkpoint | None):
        self.run = run
        self.training = run.spec.training
        self.stage = self.training.stages[run.state.stage]
        self.parameters = freeze(run.avatar, self.stage)
        self.objective = Objective(run.avatar, self.stage, self.training.image_scale)
        self.device = run.fabric.device
        self.maker = self._maker("train")
        set_modes(run.avatar, self.stage, learning=True)
        if "latent" in self.objective.needs.terms and not self.objective.prior.initialized:
            self._initialize_prior()
        # With 16 bits Fabric scales the loss, skips steps by itself, and can't clip for fused optimizers.
        self._scaled = self.training.precision == "16-mixed"
        if run.fabric.world_size > 1:
            self._leave_out_unreached()
        optimizer = torch.optim.Adam(
            self.parameters,
            lr=self.stage.learning_rate,
            fused=not self._scaled,
        )
        # DDP need not send the template around: it never changes.
        self.objective._ddp_params_and_buffers_to_ignore = [
            name for name, _ in self.objective.named_buffers() if "template_buffers" in name
        ]
        self.module, self.optimizer = run.fabric.setup(self.objective, optimizer)
        self.adam = optimizer
        self.dtype = run.avatar.template_buffers.vertices_mean.dtype
        self.meter = Meter(self.objective.needs.terms, self.device)
        if checkpoint is not None:
            load_optimizer_tensors(self.adam, self.parameters, checkpoint.part("optimizer"))
            self.meter.load(checkpoint.part("meter"))
            if run.state.scaler:
                run.fabric.strategy.precision.load_state_dict(run.state.scaler)

    def train(self) -> StageSummary:
        """Run the stage to its end and put its best weights in place.

        Raises:
            lipflow_core.errors.Interrupted: If `run.stop` said so; the run is saved then.
            lipflow_core.errors.NumericalError: If nothing finite is to be had.
        """
        run, state = self.run, self.run.state
        rank = run.fabric.global_rank
        make = partial(self.maker.training, rank=rank)
        if self.device.type == "cuda":
            make = _pinned(make)
        steps = range(state.step, self.stage.steps)
        clock = time.perf_counter()
        with closing(ahead(make, steps, self.training.workers)) as batches:
            for batch in () if self._patience_spent() else batches:
                self._step(batch)
                state.step += 1
                ended = state.step == self.stage.steps
                self._log(ended)
                if ended or state.step % self.training.evaluate_every == 0:
                    self._evaluate()
                stopping = self._told_to_stop()
                if stopping or state.step % self.training.checkpoint_every == 0:
                    now = time.perf_counter()
                    state.seconds, clock = state.seconds + now - clock, now
                    self._save()
                self._show()
                if stopping:
                    raise Interrupted(f"interrupted after step {state.total}; go on with --resume {run.directory.path}")
                if self._patience_spent():
                    break
        state.seconds += time.perf_counter() - clock
        return self._end()

    def _step(self, batch: Batch) -> None:
        run, state, stage = self.run, self.run.state, self.stage
        seed = module_seed(run.spec.seed, state.stage, state.step, run.fabric.global_rank)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        decayed = stage.learning_rate_decay if state.step >= DECAY_AFTER * stage.steps else 1.0
        for group in self.adam.param_groups:
            group["lr"] = stage.learning_rate * decayed
        loss, terms = self.module(batch.to(self.device, self.dtype), latent_weight(stage, state.step))
        run.fabric.backward(loss)
        if self._scaled:
            norm = run.fabric.clip_gradients(
                self.module, self.optimizer, max_norm=self.training.clip, error_if_nonfinite=False
            )
            self.meter.add(loss, terms, norm)
        else:
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
            bad = self.meter.add(loss, terms, norm)
            # The fused step divides gradients by the one, and leaves weights and moments alone where the other is 1:
            # clipping and skipping without a pass over the gradients and without waiting for the device.
            self.adam.grad_scale, self.adam.found_inf = (norm / self.training.clip).clamp(min=1).float(), bad
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _log(self, ended: bool) -> None:
        state = self.run.state
        if state.step % 10 == 0 or ended:
            self.meter.check(state.step)
        if state.step % self.training.log_every == 0 or ended:
            row = self.meter.row(self.run.fabric.all_reduce)
            self.run.log(
                {
                    "kind": "train",
                    "stage": self.stage.name,
                    "step": state.total,
                    **row,
                    "latent_weight": latent_weight(self.stage, state.step - 1),
                    "learning_rate": self.adam.param_groups[0]["lr"],
                    "skipped": self.meter.skipped,
                }
            )

    def _evaluate(self) -> None:
        """Take the held-out loss; keep the weights if it is the best."""
        run, state = self.run, self.run.state
        sums = self._held_out_sums()
        loss, *terms = (sums[:-1] / sums[-1]).tolist()
        best = isfinite(loss) and loss < (inf if state.best_loss is None else state.best_loss)
        state.held_out = loss if isfinite(loss) else None
        named = zip(self.objective.needs.terms, terms, strict=True)
        run.log(
            {
                "kind": "held-out",
                "stage": self.stage.name,
                "step": state.total,
                "loss": state.held_out,
                **{name: value if isfinite(value) else None for name, value in named},
                "best": best,
            }
        )
        if best:
            state.best_loss, state.best_step = loss, state.step
            if run.metrics is not None:
                run.directory.checkpoints.save_best(state, model_tensors(run.avatar))

    def _held_out_sums(self) -> Tensor:
        """Loss and terms summed over the fixed held-out frames of all ranks, and the number of frames, (k + 2,)."""
        run = self.run
        fabric = run.fabric
        self._agree_on_buffers()
        maker = self._held_out_maker
        count, cameras, views = self.training.evaluate_frames, maker.sampler.cameras, maker.sampler.views
        every = held_out_draw(run.spec.seed, maker.sampler.frames, count, cameras, views)
        size = self.training.batch
        mine = slice(fabric.global_rank, None, fabric.world_size)
        own = Draw(every.indices[mine], every.epochs[mine], every.cameras[mine])
        starts = range(0, len(own.indices), size)
        sums = torch.zeros(len(self.objective.needs.terms) + 2, dtype=torch.float64, device=self.device)
        weight = final_latent_weight(self.stage)

        def make(start: int) -> Batch:
            part = slice(start, start + size)
            return maker.held_out(Draw(own.indices[part], own.epochs[part], own.cameras[part]))

        set_modes(run.avatar, self.stage, learning=False)
        with torch.no_grad(), fabric.autocast(), closing(ahead(make, starts, self.training.workers)) as batches:
            for batch in batches:
                loss, terms = self.objective(batch.to(self.device, self.dtype), weight)
                sums += len(batch) * torch.cat([loss.view(1), terms, torch.ones_like(loss).view(1)])
        set_modes(run.avatar, self.stage, learning=True)
        return fabric.all_reduce(sums, reduce_op="sum")

    def _agree_on_buffers(self) -> None:
        """Give every rank the first one's running statistics, which are those that are saved."""
        if self.run.fabric.world_size > 1:
            for buffer in self.run.avatar.buffers():
                torch.distributed.broadcast(buffer, 0)

    @property
    def _held_out_maker(self) -> BatchMaker:
        if not hasattr(self, "_held_out"):
            self._held_out = self._maker("held-out")
        return self._held_out

    def _maker(self, name: str) -> BatchMaker:
        run, needs = self.run, self.objective.needs
        split = run.capture.split(name)
        views = self.training.views if "image" in needs.terms else 0
        if views > len(split.cameras):
            raise CompatibilityError(
                f"training.views is {views}, but the capture has {len(split.cameras)} dome cameras",
                f"set training.views to at most {len(split.cameras)}",
            )
        driving = run.avatar.driving
        seen = needs.driving or run.avatar.encoder is driving
        return BatchMaker(
            split=split,
            observations=needs.observations,
            driving=driving.modality if driving is not None and seen else None,
            augmentation=self.training.augmentation,
            sampler=Sampler(
                seed=run.spec.seed,
                stage=run.state.stage,
                frames=len(split),
                cameras=len(split.cameras),
                views=views,
                batch=self.training.batch,
                world=run.fabric.world_size,
            ),
            code=run.spec.code,
        )

    def _initialize_prior(self) -> None:
        """Set the prior's data-dependent parameters from codes of many batches; the same on every rank."""
        run = self.run
        noise = stream(run.spec.seed, Purpose.INITIALIZATION, run.state.stage)
        torch.default_generator.manual_seed(module_seed(run.spec.seed, run.state.stage, 0, 0))
        count = -(-INITIALIZATION_CODES // self.training.batch)
        alone = BatchMaker(**{**vars(self.maker), "sampler": Sampler(**{**vars(self.maker.sampler), "world": 1})})
        dtype = run.avatar.template_buffers.vertices_mean.dtype
        codes, encodings = [], []
        with (
            torch.no_grad(),
            run.fabric.autocast(),
            closing(ahead(partial(alone.training, rank=0), range(count), self.training.workers)) as batches,
        ):
            for batch in batches:
                posterior, driving = self.objective.encode(batch.to(self.device, dtype))
                draw = noise.standard_normal(tuple(posterior.mean.shape), dtype=np.float32)
                codes.append(self.objective.sample(posterior, torch.from_numpy(draw).to(posterior.mean)))
                encodings.append(driving)
            self.objective.prior.initialize(torch.cat(codes), _joined(encodings))

    def _leave_out_unreached(self) -> None:
        """Freeze parameters that no term reaches, such as a decoder's texture without pictures: DDP waits for all."""
        dtype = self.run.avatar.template_buffers.vertices_mean.dtype
        set_modes(self.run.avatar, self.stage, learning=False)
        with self.run.fabric.autocast():
            loss, _ = self.objective(self.maker.training(0, 0).to(self.device, dtype), final_latent_weight(self.stage))
        gradients = torch.autograd.grad(loss, list(self.parameters), allow_unused=True)
        set_modes(self.run.avatar, self.stage, learning=True)
        for parameter, gradient in zip(list(self.parameters), gradients, strict=True):
            if gradient is None:
                parameter.requires_grad_(False)
                del self.parameters[parameter]

    def _told_to_stop(self) -> bool:
        told = self.run.stop()
        if self.run.fabric.world_size == 1:
            return told
        return bool(self.run.fabric.all_reduce(torch.tensor(float(told), device=self.device), reduce_op="sum") > 0)

    def _patience_spent(self) -> bool:
        state = self.run.state
        return state.best_loss is not None and state.step - state.best_step >= self.training.patience

    def _save(self) -> None:
        run = self.run
        run.state.scaler = run.fabric.strategy.precision.state_dict()
        optimizer = optimizer_tensors(self.adam, self.parameters)
        run.save({**model_tensors(run.avatar), **optimizer, **self.meter.tensors()})

    def _show(self) -> None:
        progress, state = self.run.progress, self.run.state
        if progress.due:
            held_out = {} if state.held_out is None else {"held-out": state.held_out}
            progress.advance(1, stage=self.stage.name, **self.meter.latest, **held_out)
        else:
            progress.advance(1)

    def _end(self) -> StageSummary:
        """Restore the best weights."""
        run, state = self.run, self.run.state
        if state.best_loss is None:
            raise NumericalError(
                f"stage '{self.stage.name}': the held-out loss was never finite",
                "lower the stage's learning_rate, or look at the terms in metrics.jsonl",
            )
        run.fabric.barrier()
        best = run.directory.checkpoints.best(state.stage)
        load_weights(run.avatar, best.part("model"), str(run.directory.checkpoints.folder))
        return StageSummary(
            name=self.stage.name,
            steps=state.step,
            best_step=state.best_step,
            held_out=state.best_loss,
            stopped_early=state.step < self.stage.steps,
            skipped=self.meter.skipped,
        )


def _pinned(make: Callable[[int], Batch]) -> Callable[[int], Batch]:
    return lambda step: make(step).pinned()


def _joined(encodings: list[Encoding | None]) -> Encoding | None:
    if encodings[0] is None:
        return None
    return Encoding(**{name: torch.cat([getattr(e, name) for e in encodings]) for name in vars(encodings[0])})
