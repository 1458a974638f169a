"""The loop that minimises the losses of all rows together and keeps the rows independent."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipflow_core.fitting.curvature import gauss_newton, split
from lipflow_core.fitting.pose import rigid
from lipflow_core.fitting.problem import Problem
from lipflow_core.fitting.result import FittingResult
from lipflow_core.interfaces import LossAtPoint, Optimizer
from lipflow_core.progress import Progress
from lipflow_core.records import Record
from lipflow_core.specs.model import POSE_PARAMETERS, Fitting

_COMPACT = 8
"""Stopped rows are removed once they are one in this many: often enough to save work, rarely enough to cost little."""
_PAUSES = {"cpu": 1, "cuda": 8}
"""Steps between two queries of how many rows have stopped; a query makes the processor wait for a GPU."""


@dataclass(frozen=True)
class _Rows(Record):
    """The rows being fitted: number (n,) among all rows, parameters (n, P) = code and pose, the optimizer's state,
    updates made, weights (n, K) of the objectives, and the best parameters so far."""

    number: Tensor
    parameters: Tensor
    state: Record
    steps: Tensor
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
    optimizer: Optimizer,
    *,
    frames: Tensor,
    weights: Tensor,
    learning_rate: Tensor | None = None,
    progress: Progress | None = None,
) -> FittingResult:
    """Fit R rows, at most `fitting.batch` of them at a time; a row that stops makes room for the next.

    Args:
        problem: Losses of the frames.
        fitting: Options of fitting: steps, patience, start, pose and batch.
        optimizer: Optimizer of the rows.
        frames: (R,) int64 index of the problem's frame that each row fits.
        weights: (R, K) weights of each row's objectives.
        learning_rate: (R,) learning rate of each row's code, in place of the optimizer's option of this name.
        progress: Progress that each finished row advances.

    Returns:
        The result of R fitted rows, in order.
    """
    first = problem.start(fitting.start)
    starts = first[frames]
    total, size = starts.shape
    names = (*problem.objectives, "total")
    curves = starts.new_full((total, fitting.steps + 1, len(names)), torch.nan)
    parameters = problem.points(first)[frames]
    if fitting.pose is not None:
        parameters = torch.cat([parameters, starts.new_zeros(total, POSE_PARAMETERS)], dim=1)
    waiting = _Rows(
        number=torch.arange(total, device=starts.device),
        parameters=parameters,
        state=optimizer.start(parameters, None if learning_rate is None else learning_rate.to(starts)),
        steps=torch.zeros(total, dtype=torch.int64, device=starts.device),
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
        rows = _run(current, rows, fitting, optimizer, curves, progress)
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
    with torch.no_grad():
        codes = problem.codes(every.best[:, :size], frames)
    return FittingResult(
        codes=codes,
        starts=starts,
        poses=None if fitting.pose is None else rigid(every.best[:, size:], fitting.pose.translation_scale),
        perturbations=None if problem.displacement is None else problem.displacement[frames],
        losses=every.best_loss,
        steps=every.steps,
        best_steps=every.best_step,
        nonfinite=every.nonfinite,
        skipped=every.skipped,
        unseen=problem.unseen[frames],
        curves={name: curves[:, :, i] for i, name in enumerate(names)},
    )


def _run(
    problem: Problem,
    rows: _Rows,
    fitting: Fitting,
    optimizer: Optimizer,
    curves: Tensor,
    progress: Progress | None,
) -> _Rows:
    """Step until enough rows have stopped that removing them pays.

    Between steps the device is queried only for the number of stopped rows, and a GPU only every few steps, so that it
    never waits for its next work. Stopped rows stay unchanged.
    """
    enough = max(1, len(rows.number) // _COMPACT)
    youngest, oldest = (int(steps) for steps in rows.steps.aminmax())
    pause = _PAUSES.get(rows.number.device.type, 8)
    for taken in itertools.count():
        rows = _step(problem, rows, fitting, optimizer, curves, learning=youngest + taken < fitting.steps)
        over = youngest + taken >= fitting.steps or oldest + taken == fitting.steps
        if progress is not None:
            # Rows tend to finish together; the step shows progress before they do.
            progress.advance(0, step=f"{oldest + taken}/{fitting.steps}")
        if (over or (taken + 1) % pause == 0) and int((~rows.running).sum()) >= enough:
            return rows


def _step(
    problem: Problem, rows: _Rows, fitting: Fitting, optimizer: Optimizer, curves: Tensor, *, learning: bool
) -> _Rows:
    """Compute every row's loss; then, unless `learning` is False, update the rows that continue."""
    steps = rows.steps
    parameters = rows.parameters.detach()
    with torch.set_grad_enabled(learning):
        parameters.requires_grad_(learning)
        losses = problem.losses(*split(parameters, problem.code_size, fitting))
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
    here = parameters.detach()

    def curvature(index: Tensor) -> Tensor:
        return gauss_newton(problem.rows(index), here[index], rows.weights[index], fitting)

    # A row without a finite gradient is told so: at the same place it would get the same gradient again.
    evaluation = LossAtPoint(total.detach(), torch.where(usable[:, None], gradient, 0), usable, curvature)
    with torch.no_grad():
        moved, state = optimizer.update(here, evaluation, rows.state)
        converged = optimizer.converged(state)
    moves = goes_on if converged is None else goes_on & ~converged
    return replace(
        rows,
        parameters=torch.where(moves[:, None], moved, here),
        state=state,
        steps=torch.where(moves, steps + 1, steps),
        running=moves,
        skipped=rows.skipped + (goes_on & ~usable),
    )
