"""The loop that minimises the losses of all rows together.

Rows are independent, unless a temporal prior couples the rows of a run: then a run stops as one, and is kept as it was
when its loss was lowest.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
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
    """The rows being fitted: number (n,) among all rows, run (n,) and place in it (n,), parameters (n, P) = code and
    pose, the optimizer's state, updates made, weights (n, K) of the objectives, and the best parameters so far with
    the loss of the row and of its run (n,)."""

    number: Tensor
    run: Tensor
    place: Tensor
    parameters: Tensor
    state: Record
    steps: Tensor
    weights: Tensor
    best: Tensor
    best_loss: Tensor
    best_of_run: Tensor
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
    runs: Sequence[Tensor] = (),
    progress: Progress | None = None,
) -> FittingResult:
    """Fit R rows, at most `fitting.batch` of them at a time; a row that stops makes room for the next.

    Rows of a run are fitted together, also if they are more than `fitting.batch`; they are decoded in parts then.

    Args:
        problem: Losses of the frames.
        fitting: Options of fitting: steps, patience, start, pose and batch.
        optimizer: Optimizer of the rows.
        frames: (R,) int64 index of the problem's frame that each row fits.
        weights: (R, K) weights of each row's objectives.
        learning_rate: (R,) learning rate of each row's code, in place of the optimizer's option of this name.
        runs: Rows (T,) int64 of each run in the order of its frames, for problems with a temporal prior; a row that is
            in none is a run of its own.
        progress: Progress that each finished row advances.

    Returns:
        The result of R fitted rows, in order.
    """
    first = problem.start(fitting.start)
    starts = first[frames]
    total, size = starts.shape
    names = (*problem.objectives, *(() if problem.temporal is None else ("temporal",)), "total")
    curves = starts.new_full((total, fitting.steps + 1, len(names)), torch.nan)
    parameters = problem.points(first)[frames]
    if fitting.pose is not None:
        parameters = torch.cat([parameters, starts.new_zeros(total, POSE_PARAMETERS)], dim=1)
    number = torch.arange(total, device=starts.device)
    run, place = number.clone(), torch.zeros_like(number)
    for rows_of_run in runs:
        run[rows_of_run], place[rows_of_run] = rows_of_run[0], number[: len(rows_of_run)]
    waiting = _Rows(
        number=number,
        run=run,
        place=place,
        parameters=parameters,
        state=optimizer.start(parameters, None if learning_rate is None else learning_rate.to(starts)),
        steps=torch.zeros(total, dtype=torch.int64, device=starts.device),
        weights=weights.to(starts),
        best=parameters,
        best_loss=starts.new_full((total,), torch.inf),
        best_of_run=starts.new_full((total,), torch.inf),
        best_step=torch.zeros(total, dtype=torch.int64, device=starts.device),
        running=torch.ones(total, dtype=torch.bool, device=starts.device),
        nonfinite=torch.zeros(total, dtype=torch.bool, device=starts.device),
        skipped=torch.zeros(total, dtype=torch.int64, device=starts.device),
    )
    waiting = waiting.rows((run * total + place).argsort())
    finished: list[_Rows] = []
    rows, waiting = _next_runs(waiting, fitting.batch, at_least_one=True)
    while len(rows.number):
        current = problem.rows(frames[rows.number])
        rows = _run(current, rows, fitting, optimizer, curves, progress)
        stopped = ~rows.running
        finished.append(rows.rows(stopped))
        if progress is not None:
            progress.advance(len(finished[-1].number))
        kept = rows.rows(rows.running)
        room = fitting.batch - len(kept.number)
        fresh, waiting = _next_runs(waiting, room, at_least_one=len(kept.number) == 0)
        rows = _Rows.join([kept, fresh])
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


def _next_runs(waiting: _Rows, room: int, *, at_least_one: bool) -> tuple[_Rows, _Rows]:
    """Take whole runs that fit into some room from those that wait; the first in any case if `at_least_one`."""
    run = waiting.run
    ends = torch.cat([run[1:] != run[:-1], run.new_ones(1, dtype=torch.bool)])[: len(run)].nonzero()[:, 0] + 1
    fits = int((ends <= room).sum())
    count = int(ends[max(fits, int(at_least_one)) - 1]) if len(run) and (fits or at_least_one) else 0
    return waiting.apply(lambda t: t[:count]), waiting.apply(lambda t: t[count:])


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
    parts = [(slice(None), problem)]
    if len(rows.number) > fitting.batch:
        pieces = torch.arange(len(rows.number), device=rows.number.device).split(fitting.batch)
        parts = [(slice(int(piece[0]), int(piece[-1]) + 1), problem.rows(piece)) for piece in pieces]
    for taken in itertools.count():
        rows = _step(problem, parts, rows, fitting, optimizer, curves, learning=youngest + taken < fitting.steps)
        over = youngest + taken >= fitting.steps or oldest + taken == fitting.steps
        if progress is not None:
            # Rows tend to finish together; the step shows progress before they do.
            progress.advance(0, step=f"{oldest + taken}/{fitting.steps}")
        if (over or (taken + 1) % pause == 0) and int((~rows.running).sum()) >= enough:
            return rows


def _step(
    problem: Problem,
    parts: Sequence[tuple[slice, Problem]],
    rows: _Rows,
    fitting: Fitting,
    optimizer: Optimizer,
    curves: Tensor,
    *,
    learning: bool,
) -> _Rows:
    """Compute every row's loss; then, unless `learning` is False, update the rows that continue.

    `parts` are the rows that are decoded together, each with its problem.
    """
    steps, running = rows.steps, rows.running
    here = rows.parameters.detach()
    evaluated = [_evaluate(part, rows.apply(lambda t, at=at: t[at]), fitting, learning=learning) for at, part in parts]
    losses, gradient = (torch.cat(column) for column in zip(*evaluated, strict=True))
    total = (losses * rows.weights).sum(dim=1)
    scored = [losses]
    if problem.temporal is not None:
        energy, slope = _energies(problem, here, rows, running & total.isfinite(), learning=learning)
        weight = problem.temporal.config.weight
        total, gradient = total + weight * energy, gradient + weight * slope
        scored.append(energy[:, None])
    place = (rows.number, steps)
    curves[place] = torch.where(running[:, None], torch.cat([*scored, total[:, None]], dim=1), curves[place])

    finite = total.isfinite()
    held, lost = running & finite, running & ~finite
    together = (rows.run[:, None] == rows.run).to(total)
    of_run = together @ torch.where(held, total, 0)
    # Without the rows that it lost a run's loss is another one, which can't be compared with the best so far.
    better = held & ((of_run < rows.best_of_run) | (together @ lost.to(total) > 0))
    best_step = torch.where(better, steps, rows.best_step)
    goes_on = held & (steps < fitting.steps) & (steps - best_step < fitting.patience)
    rows = replace(
        rows,
        best=torch.where(better[:, None], here, rows.best),
        best_loss=torch.where(better, total, rows.best_loss),
        best_of_run=torch.where(better, of_run, rows.best_of_run),
        best_step=best_step,
        running=goes_on,
        nonfinite=rows.nonfinite | lost,
    )
    if not learning:
        return rows
    usable = gradient.isfinite().all(dim=1)

    def curvature(index: Tensor) -> Tensor:
        return gauss_newton(problem.rows(index), here[index], rows.weights[index], fitting)

    # A row without a finite gradient is told so: at the same place it would get the same gradient again.
    evaluation = LossAtPoint(total, torch.where(usable[:, None], gradient, 0), usable, curvature)
    with torch.no_grad():
        moved, state = optimizer.update(here, evaluation, rows.state)
        converged = optimizer.converged(state)
    moves = goes_on
    if converged is not None:
        moves = goes_on & (together @ (goes_on & ~converged).to(total) > 0)
    return replace(
        rows,
        parameters=torch.where(moves[:, None], moved, here),
        state=state,
        steps=torch.where(moves, steps + 1, steps),
        running=moves,
        skipped=rows.skipped + (goes_on & ~usable),
    )


def _evaluate(problem: Problem, rows: _Rows, fitting: Fitting, *, learning: bool) -> tuple[Tensor, Tensor]:
    """Compute the losses (n, K) of rows by themselves, and the gradient (n, P) of their weighted sums if `learning`."""
    parameters = rows.parameters.detach()
    with torch.set_grad_enabled(learning):
        parameters.requires_grad_(learning)
        losses = problem.losses(*split(parameters, problem.code_size, fitting))
        total = (losses * rows.weights).sum(dim=1)
    gradient = torch.zeros_like(parameters)
    if learning:
        counted = torch.where(rows.running & total.isfinite(), total, 0)
        (gradient,) = torch.autograd.grad(counted.sum(), parameters)
    return losses.detach(), gradient


def _energies(
    problem: Problem, parameters: Tensor, rows: _Rows, held: Tensor, *, learning: bool
) -> tuple[Tensor, Tensor]:
    """Compute the temporal prior's energies (n,), and their gradient (n, P) if `learning`, of the rows held (n,) bool.

    A row that is not held is as a gap in the frame numbers.
    """
    follows = torch.zeros_like(held)
    follows[1:] = (rows.run[1:] == rows.run[:-1]) & (rows.place[1:] == rows.place[:-1] + 1) & held[1:] & held[:-1]
    parameters = torch.where(held[:, None], parameters, rows.best).detach()
    with torch.set_grad_enabled(learning):
        parameters.requires_grad_(learning)
        energy = torch.where(held, problem.energies(parameters[:, : problem.code_size], follows), 0)
    slope = torch.zeros_like(parameters)
    if learning:
        (slope,) = torch.autograd.grad(energy.sum(), parameters)
    return energy.detach(), slope
