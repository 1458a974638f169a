"""Trains one stage: freezes the other parts, takes the steps, evaluates the held-out loss, and ends the stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from math import inf, isfinite

import torch

from lipflow_core.errors import Interrupted, NumericalError
from lipflow_core.training.batches import ahead
from lipflow_core.training.checkpoints import (
    Checkpoint,
    load_optimizer_tensors,
    model_tensors,
    optimizer_tensors,
)
from lipflow_core.training.held_out import HeldOut
from lipflow_core.training.learning import freeze, set_modes
from lipflow_core.training.meter import Meter
from lipflow_core.training.preparation import batch_maker, initialize_prior, leave_out_unreached, seed_modules
from lipflow_core.training.run import Run
from lipflow_core.training.runaway import signs
from lipflow_core.training.stage_loss import Batch, StageLoss, weights_at
from lipflow_core.training.state import StageSummary
from lipflow_core.weights import load_weights

DECAY_AFTER = 0.7
"""Fraction of a stage's steps after which the learning rate decays."""

ASK_EVERY = 10
"""Steps between two checks whether any process of a run was told to stop; a check makes them wait for each other."""


class StageTraining:
    """Trains one stage of a run, from the beginning or from a checkpoint.

    Args:
        run: Run that the stage belongs to; `run.state` gives the stage's number.
        checkpoint: Checkpoint to continue from; None at the start of a stage.
    """

    def __init__(self, run: Run, checkpoint: Checkpoint | None):
        self.run = run
        self.training = run.spec.training
        self.stage = self.training.stages[run.state.stage]
        self.parameters = freeze(run.avatar, self.stage)
        self.loss = StageLoss(run.avatar, self.stage, run.objectives[self.stage.name])
        self.device = run.fabric.device
        self.maker = batch_maker(run, self.loss, "train")
        self.held_out = HeldOut(run, self.loss)
        set_modes(run.avatar, self.stage, learning=True)
        if self.loss.needs.made.divergence and not self.loss.prior.initialized:
            initialize_prior(run, self.loss, self.maker)
        # With 16 bits Fabric scales the loss, skips steps by itself, and can't clip for fused optimizers.
        self._scaled = self.training.precision == "16-mixed"
        if run.fabric.world_size > 1:
            leave_out_unreached(run, self.loss, self.maker, self.parameters)
        optimizer = torch.optim.Adam(
            self.parameters,
            lr=self.stage.learning_rate,
            fused=not self._scaled,
        )
        # DDP need not broadcast the template: it never changes.
        self.loss._ddp_params_and_buffers_to_ignore = [
            name for name, _ in self.loss.named_buffers() if "template_buffers" in name
        ]
        self.module, self.optimizer = run.fabric.setup(self.loss, optimizer)
        self.adam = optimizer
        self.dtype = run.avatar.template_buffers.vertices_mean.dtype
        self.meter = Meter(self.loss.names, self.loss.needs.encoders, self.device)
        if checkpoint is not None:
            load_optimizer_tensors(self.adam, self.parameters, checkpoint.part("optimizer"))
            self.meter.load(checkpoint.part("meter"))
            if run.state.scaler:
                run.fabric.strategy.precision.load_state_dict(run.state.scaler)

    def train(self) -> StageSummary:
        """Train the stage to its end and load its best weights.

        Raises:
            lipflow_core.errors.Interrupted: If `run.stop` returned True; the run is saved then.
            lipflow_core.errors.NumericalError: If the gradient or the held-out loss is never finite.
        """
        run, state = self.run, self.run.state
        rank = run.fabric.global_rank
        make = partial(self.maker.training, rank=rank)
        if self.device.type == "cuda":
            make = _pinned(make)
        steps = range(state.step, self.stage.steps)
        run.progress.forget()
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
                spent = self._patience_spent()
                self._show(last=ended or stopping or spent)
                if stopping:
                    raise Interrupted(
                        f"interrupted after step {state.total}; continue with --resume in {run.directory.path}"
                    )
                if spent:
                    break
        state.seconds += time.perf_counter() - clock
        return self._end()

    def _step(self, batch: Batch) -> None:
        run, state, stage = self.run, self.run.state, self.stage
        seed_modules(run, state.step, run.fabric.global_rank)
        decayed = stage.learning_rate_decay if state.step >= DECAY_AFTER * stage.steps else 1.0
        for group in self.adam.param_groups:
            group["lr"] = stage.learning_rate * decayed
        weights = weights_at(self.loss.needs.objectives, state.step)
        loss, terms, log_std = self.module(batch.to(self.device, self.dtype), weights)
        run.fabric.backward(loss)
        if self._scaled:
            norm = run.fabric.clip_gradients(
                self.module, self.optimizer, max_norm=self.training.clip, error_if_nonfinite=False
            )
            self.meter.add(loss, terms, log_std, norm)
        else:
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
            bad = self.meter.add(loss, terms, log_std, norm)
            # The fused step divides gradients by `grad_scale`, and does nothing where `found_inf` is 1: it clips and
            # skips without another pass over the gradients and without waiting for the device.
            self.adam.grad_scale, self.adam.found_inf = (norm / self.training.clip).clamp(min=1).float(), bad
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _log(self, ended: bool) -> None:
        state = self.run.state
        if state.step % 10 == 0 or ended:
            self.meter.check(state.step)
        if state.step % self.training.log_every == 0 or ended:
            row = self.meter.row(self.run.fabric.all_reduce)
            weights = weights_at(self.loss.needs.objectives, state.step - 1)
            peaks = self.meter.peaks(partial(self.run.fabric.all_reduce, reduce_op="max"))
            self.run.log(
                {
                    "kind": "train",
                    "stage": self.stage.name,
                    "step": state.total,
                    **row,
                    **{name: value for name, value in peaks.items() if name not in row},
                    **{f"weight_{name}": value for name, value in weights.items()},
                    "learning_rate": self.adam.param_groups[0]["lr"],
                    "skipped": self.meter.skipped,
                }
            )
            self._warn(peaks)
            state.usual = {name: abs(row[name]) for name in self.loss.names if row[name] is not None}

    def _warn(self, peaks: dict[str, float | None]) -> None:
        """Show and log each sign that training diverges, once a stage."""
        run, state = self.run, self.run.state
        for sign in signs(peaks, state.usual):
            if sign.name in state.warnings:
                continue
            state.warnings[sign.name] = f"by step {state.total} {sign.text}"
            run.progress.note(f"warning: {state.warnings[sign.name]}")
            run.log({"kind": "warning", "stage": self.stage.name, "step": state.total, **asdict(sign)})

    def _evaluate(self) -> None:
        """Compute the held-out loss, and keep the weights if it is the best."""
        run, state = self.run, self.run.state
        loss, terms = self.held_out.loss()
        best = isfinite(loss) and loss < (inf if state.best_loss is None else state.best_loss)
        state.held_out = loss if isfinite(loss) else None
        run.log(
            {
                "kind": "held-out",
                "stage": self.stage.name,
                "step": state.total,
                "loss": state.held_out,
                **{name: value if isfinite(value) else None for name, value in terms.items()},
                "best": best,
            }
        )
        if best:
            state.best_loss, state.best_step = loss, state.step
            if run.metrics is not None:
                run.directory.checkpoints.save_best(state, model_tensors(run.avatar))

    def _told_to_stop(self) -> bool:
        if self.run.fabric.world_size == 1:
            return self.run.stop()
        if self.run.state.step % ASK_EVERY:
            return False
        told = self.run.stop()
        return bool(self.run.fabric.all_reduce(torch.tensor(float(told), device=self.device), reduce_op="sum") > 0)

    def _patience_spent(self) -> bool:
        """Tell whether patience is spent; this can only happen right after an evaluation."""
        state = self.run.state
        if state.step % self.training.evaluate_every:
            return False
        return state.best_loss is not None and state.step - state.best_step >= self.training.patience

    def _save(self) -> None:
        run = self.run
        run.state.scaler = run.fabric.strategy.precision.state_dict()
        optimizer = optimizer_tensors(self.adam, self.parameters)
        run.save({**model_tensors(run.avatar), **optimizer, **self.meter.tensors()})

    def _show(self, last: bool) -> None:
        """Advance the progress, with figures if it is due to be shown or if the step is the last one."""
        progress, state = self.run.progress, self.run.state
        if progress.due or last:
            losses = self.meter.latest
            # A narrow terminal cuts off the last figures.
            told = {"loss": losses["loss"], "held-out": "–" if state.held_out is None else state.held_out}
            progress.advance(1, stage=self.stage.name, **(told | losses))
        else:
            progress.advance(1)

    def _end(self) -> StageSummary:
        """Restore the best weights and summarise the stage."""
        run, state = self.run, self.run.state
        if state.best_loss is None:
            raise NumericalError(
                f"stage '{self.stage.name}': the held-out loss was never finite",
                "lower the stage's learning_rate; metrics.jsonl shows which term is not finite",
            )
        if state.step > 0 and self.meter.skipped == state.step:
            raise NumericalError(
                f"stage '{self.stage.name}': every one of its {state.step} steps was skipped, since the gradient was "
                "not finite, so that nothing was learnt",
                "Lower the stage's learning_rate, or check the parts that its objectives depend on.",
            )
        run.progress.advance(0, **{"held-out": state.best_loss})
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
            warnings=tuple(state.warnings.values()),
        )


def _pinned(make: Callable[[int], Batch]) -> Callable[[int], Batch]:
    return lambda step: make(step).pinned()
