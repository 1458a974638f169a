"""Chooses learning rate and latent weight on some frames, all points of the grid at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch

from lipflow_core.avatar import Avatar
from lipflow_core.errors import SpecError, UsageError
from lipflow_core.fitting.loop import minimize
from lipflow_core.fitting.problem import Problem
from lipflow_core.fitting.result import GridChoice, GridPoint
from lipflow_core.interfaces import Capture, Metric, Objective, Split
from lipflow_core.plans import Needs
from lipflow_core.progress import Progress
from lipflow_core.records import Frame
from lipflow_core.scoring import default_metric, score
from lipflow_core.selection import spread
from lipflow_core.specs.model import Fitting, Grid
from lipflow_core.splits import open_split


def asks_prior(objective: Objective) -> bool:
    """Tell whether an objective needs the prior; the grid then searches its weight."""
    return "prior" in objective.planned.needs


def search(
    avatar: Avatar,
    problem: Problem,
    target: Frame,
    fitting: Fitting,
    grid: Grid,
    metric: Metric | None,
    progress: Progress | None = None,
) -> GridChoice:
    """Fit the problem's frames at every point of the grid together and score the fitted codes.

    With `grid.extend`, axes whose best value lies at an edge get a value beyond it, and the new points are tried.

    Args:
        avatar: Assembled model, frozen.
        problem: Losses of the frames that the points are tried on.
        target: The same frames, with the observations that the metric compares with.
        fitting: Options of fitting.
        grid: Axes of the grid.
        metric: Metric to choose by; the first of the registry's default metrics if None.
        progress: Progress that each finished row advances, and whose total grows by frames × points rows.

    Raises:
        lipflow_core.errors.SpecError: If the frames lack an observation that the metric compares with.
    """
    problem = replace(problem, temporal=None)  # the frames that points are tried on are spread, so that none follow
    metric = default_metric(avatar) if metric is None else metric
    for name in Needs.of([metric.planned]).targets:
        if name not in target.observations:
            raise SpecError(
                f"the grid search scores frames by metric '{metric.config.heading}', which needs the observation "
                f"'{name}'; the frames have {', '.join(target.observations)}",
                hint="load this observation too, or set fitting.grid=null",
            )
    latent = [asks_prior(objective) for objective in problem.objectives.values()]
    axes: dict[str, tuple[float | None, ...]] = {
        "learning_rate": grid.learning_rate if fitting.has_learning_rate else (None,),
        "latent_weight": grid.latent_weight if any(latent) else (None,),
    }
    tried: dict[tuple[float | None, ...], float] = {}
    sign = 1 if metric.config.higher_is_better else -1
    for extension in range(grid.extensions + 1):
        points = [point for point in product(*axes.values()) if point not in tried]
        if progress is not None and progress.total is not None:
            progress.total += len(points) * len(problem)
        means = _means(avatar, problem, target, fitting, points, metric, progress)
        tried |= dict(zip(points, means, strict=True))
        # Frames that can't be scored leave the choice to the others.
        best = max(tried, key=lambda point: -math.inf if math.isnan(tried[point]) else sign * tried[point])
        beyond = {name: _beyond(value, axis) for value, (name, axis) in zip(best, axes.items(), strict=True)}
        wider = {name: (*axes[name], value) for name, value in beyond.items() if value is not None}
        if not grid.extend or not wider or math.isnan(tried[best]) or extension == grid.extensions:
            break
        axes |= wider
    rate, weight = best
    edges = {name: (value, axis) for value, (name, axis) in zip(best, axes.items(), strict=True)}
    return GridChoice(
        learning_rate=rate,
        latent_weight=weight,
        metric=metric.config.heading,
        unit=metric.config.unit,
        score=tried[best],
        points=tuple(
            GridPoint(learning_rate=rate, latent_weight=weight, score=mean) for (rate, weight), mean in tried.items()
        ),
        at_edge=tuple(
            name
            for name, (value, axis) in edges.items()
            if value is not None and len(axis) > 1 and value in (min(axis), max(axis))
        ),
        frames=len(problem),
        chosen_on=grid.choose_on,
    )


def frames_to_choose_on(
    grid: Grid, split: Split, indices: np.ndarray, capture: Callable[[], Capture]
) -> tuple[Split, np.ndarray]:
    """Find the frames that the points of a grid are tried on.

    Args:
        grid: Options of the grid search.
        split: Split that is fitted and scored.
        indices: (N,) positions of the frames that are fitted and scored.
        capture: Opens the capture that the split is of; called for training frames only.

    Returns:
        A split, and the positions of at most `grid.frames` frames in it, evenly spread.

    Raises:
        lipflow_core.errors.UsageError: If all frames of the split are fitted or scored, so that none is apart.
    """
    if grid.choose_on == "training":
        split = open_split(capture(), "train")
        indices = np.arange(len(split))
    elif grid.choose_on == "apart":
        apart = np.setdiff1d(np.arange(len(split)), indices)
        if not len(apart):
            raise UsageError(
                f"fitting.grid.choose_on is 'apart', but all {len(split)} frames of the split are fitted or scored",
                "Name fewer with --frames or --count, or choose on training frames: fitting.grid.choose_on=training.",
            )
        scored = {split.segments[index] for index in indices}
        others = np.array([index for index in apart if split.segments[index] not in scored], dtype=np.int64)
        indices = others if len(others) >= grid.frames else apart
    return split, indices[spread(grid.frames, len(indices))]


def _beyond(value: float | None, axis: Sequence[float | None]) -> float | None:
    """Extend an axis beyond its edge by its last ratio; None if the value lies inside, or at an edge without one."""
    ordered = sorted({each for each in axis if each is not None})
    if value is None or len(ordered) < 2 or value not in (ordered[0], ordered[-1]):
        return None
    edge, inner = ordered[:2] if value == ordered[0] else ordered[:-3:-1]
    return edge * edge / inner if edge > 0 and inner > 0 else None


def _means(
    avatar: Avatar,
    problem: Problem,
    target: Frame,
    fitting: Fitting,
    points: Sequence[tuple[float | None, ...]],
    metric: Metric,
    progress: Progress | None,
) -> list[float]:
    """Fit all frames at some points together; the mean score of each point, NaN if no frame could be scored."""
    latent = [asks_prior(objective) for objective in problem.objectives.values()]
    count, like = len(problem), {"dtype": problem.template.vertices_mean.dtype, "device": avatar.device}
    fixed = [objective.config.final_weight for objective in problem.objectives.values()]
    weights = [
        [rate_weight[1] if asks else own for own, asks in zip(fixed, latent, strict=True)] for rate_weight in points
    ]
    # Frame by frame: the points of one frame need a similar number of steps, so that they stop together.
    result = minimize(
        problem,
        fitting,
        fitting.optimizer.build(fitting.optimizer_inputs(problem.code_size)),
        frames=torch.arange(count, device=avatar.device).repeat_interleave(len(points)),
        weights=torch.tensor(weights, **like).repeat(count, 1),
        learning_rate=(
            torch.tensor([rate for rate, _ in points], **like).repeat(count) if fitting.has_learning_rate else None
        ),
        progress=progress,
    )
    compared = replace(target, observations={name: target[name] for name in Needs.of([metric.planned]).targets})
    # A batch at a time, so that the pictures of all points need not be in memory together.
    scored = []
    for rows, codes in zip(
        torch.arange(len(result)).split(fitting.batch), result.codes.split(fitting.batch), strict=True
    ):
        frames = torch.div(rows, len(points), rounding_mode="floor")
        pose = None if result.residual is None else result.residual[rows]
        values, _ = score(avatar, codes, compared.rows(frames), {"chosen by": metric}, pose=pose)
        scored.append(values["chosen by"])
    scores = torch.cat(scored).view(count, len(points))
    return scores.nanmean(dim=0).tolist()
