"""The loop that minimises the losses of all rows together and keeps the rows independent."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipflow_core.fitting.adam import RowAdam
from lipflow_core.fitting.pose import PARAMETERS, rigid
from lipflow_core.fitting.problem import Problem
from lipflow_core.fitting.result import FittingResult
from lipflow_core.progress import Progress
from lipflow_core.records import Record
from lipflow_core.specs.model import Fitting

_COMPACT = 8
"""Stopped rows are removed once they are one in this many: often enough to save work, rarely enough to cost little."""
_PAUSES = {"cpu": 1, "cuda": 8}
"""Steps between two queries of how many rows have stopped; a query makes the processor wait for a GPU."""


@dataclass(frozen=True)
class _Rows(Record):
    """The rows being fitted: number (n,) among all rows, parameters (n, P) = code and pose, Adam's state, weights
    (n, K) of the objectives, and the best parameters so far."""

    number: Tensor
    parameters: Tensor
    adam: RowAdam
    weights: Tensor
    best: Tensor
    best_loss: Tensor
    best_step: Tensor
    running: Tensor
    nonfinite: Tensor
    skipped: Tensor


def minimize(
    problem: Problem,
    fitting: Fitting,
    *,
    frames: Tensor,
    learning_rate: Tensor,
    weights: Tensor,
    progress: Progress | None = None,
) -> FittingResult:
    """Fit R rows, at most `fitting.batch` of them at a time; a row that stops makes room for the next.

    Args:
        problem: Losses of the frames.
        fitting: Options of fitting: steps, patience, start, pose and batch.
        frames: (R,) int64 index of the problem's frame that each row fits.
        learning_rate: (R,) learning rate of each row's code.
        weights: (R, K) weights of each row's objectives.
        progress: Progress that each finished row advances.

    Returns:
        The result of R fitted rows, in order.
    """
    starts = problem.start(fitting.start)[frames]
    total, size = starts.shape
    names = (*problem.objectives, "total")
    curves = starts.new_full((total, fitting.steps + 1, len(names)), torch.nan)
    rate = learning_rate[:, None].to(starts).expand(-1, size)
    parameters = starts
    if fitting.pose is not None:
        parameters = torch.cat([parameters, starts.new_zeros(total, PARAMETERS)], dim=1)
        rate = torch.cat([rate, starts.new_full((total, PARAMETERS), fitting.pose.learning_rate)], dim=1)
    waiting = _Rows(
        number=torch.arange(total, device=starts.device),
        parameters=parameters,
        adam=RowAdam.start(rate.contiguous()),
        weights=weights.to(starts),
        best=parameters,
        best_loss=starts.new_full((total,), torch.inf),
        best_step=torch.zeros(total, dtype=torch.int64, device=starts.device),
        running=torch.ones(total, dtype=torch.bool, device=starts.device),
        nonfinite=torch.zeros(total, dtype=torch.bool, device=starts.device),
        skipped=torch.zeros(total, dtype=torch.int64, device=starts.device),
    )
    finished: list[_Rows] = []
    rows, waiting = waiting.apply(lambda t: t[: fitting.batch]), waiting.apply(lambda t: t[fitting.batch :])
    while len(rows.number):
        current = problem.rows(frames[rows.number])
        rows = _run(current, rows, fitting, curves, progress)
        stopped = ~rows.running
        finished.append(rows.rows(stopped))
        if progress is not None:
            progress.advance(len(finished[-1].number))
        kept = rows.rows(rows.running)
        room = fitting.batch - len(kept.number)
        rows = _Rows.join([kept, waiting.apply(lambda t, room=room: t[:room])])
        waiting = waiting.apply(lambda t, room=room: t[room:])
    every = _Rows.join(finished) if finished else rows
    every = every.rows(every.number.argsort())
    return FittingResult(
        codes=every.best[:, :size],
        starts=starts,
        poses=None if fitting.pose is None else rigid(every.best[:, size:], fitting.pose.translation_scale),
        perturbations=None if problem.displacement is None else problem.displacement[frames],
        losses=every.best_loss,
        steps=every.adam.steps,
        best_steps=every.best_step,
        nonfinite=every.nonfinite,
        skipped=every.skipped,
        unseen=problem.unseen[frames],
        curves={name: curves[:, :, i] for i, name in enumerate(names)},
    )


def _run(problem: Problem, rows: _Rows, fitting: Fitting, curves: Tensor, progress: Progress | None) -> _Rows:
    """Step until enough rows have stopped that removing them pays.

    Between steps the device is queried only for the number of stopped rows, and a GPU only every few steps, so that it
    never waits for its next work. Stopped rows stay unchanged.
    """
    enough = max(1, len(rows.number) // _COMPACT)
    youngest, oldest = (int(steps) for steps in rows.adam.steps.aminmax())
    pause = _PAUSES.get(rows.number.device.type, 8)
    for taken in itertools.count():
        rows = _step(problem, rows, fitting, curves, learning=youngest + taken < fitting.steps)
        over = youngest + taken >= fitting.steps or oldest + taken == fitting.steps
        if progress is not None:
            # Rows tend to finish together; the step shows progress before they do.
            progress.advance(0, step=f"{oldest + taken}/{fitting.steps}")
        if (over or (taken + 1) % pause == 0) and int((~rows.running).sum()) >= enough:
            return rows


def _step(problem: Problem, rows: _Rows, fitting: Fitting, curves: Tensor, *, learning: bool) -> _Rows:
    """Compute every row's loss; then, unless `learning` is False, update the rows that continue."""
    size, steps = problem.code_size, rows.adam.steps
    parameters = rows.parameters.detach()
    with torch.set_grad_enabled(learning):
        parameters.requires_grad_(learning)
        pose = None if fitting.pose is None else rigid(parameters[:, size:], fitting.pose.translation_scale)
        losses = problem.losses(parameters[:, :size], pose)
        total = (losses * rows.weights).sum(dim=1)
    scored = torch.cat([losses, total[:, None]], dim=1).detach()
    running = rows.running
    place = (rows.number, steps)
    curves[place] = torch.where(running[:, None], scored, curves[place])

    finite = total.detach().isfinite()
    better = running & finite & (total.detach() < rows.best_loss)
    best_step = torch.where(better, steps, rows.best_step)
    goes_on = running & finite & (steps < fitting.steps) & (steps - best_step < fitting.patience)
    rows = replace(
        rows,
        best=torch.where(better[:, None], parameters.detach(), rows.best),
        best_loss=torch.where(better, total.detach(), rows.best_loss),
        best_step=best_step,
        running=goes_on,
        nonfinite=rows.nonfinite | (running & ~finite),
    )
    if not learning:
        return rows
    (gradient,) = torch.autograd.grad(torch.where(goes_on, total, 0).sum(), parameters)
    usable = gradient.isfinite().all(dim=1)
    # Without a finite gradient the row moves by its momentum; unmoved, it would get the same gradient again.
    moved, adam = rows.adam.update(parameters.detach(), torch.where(usable[:, None], gradient, 0))
    return replace(
        rows,
        parameters=torch.where(goes_on[:, None], moved, parameters.detach()),
        adam=replace(adam, steps=torch.where(goes_on, adam.steps, steps)),
        skipped=rows.skipped + (goes_on & ~usable),
    )
