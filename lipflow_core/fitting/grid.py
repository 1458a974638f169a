"""Chooses learning rate and latent weight on a first batch of frames, all points of the grid at once."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import torch

from lipflow_core.avatar import Avatar
from lipflow_core.errors import SpecError
from lipflow_core.fitting.loop import minimize
from lipflow_core.fitting.problem import Problem
from lipflow_core.fitting.result import GridChoice, GridPoint
from lipflow_core.interfaces import Metric, Objective
from lipflow_core.plans import Needs
from lipflow_core.progress import Progress
from lipflow_core.records import Frame
from lipflow_core.scoring import default_metric, score
from lipflow_core.specs.model import Fitting, Grid


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

    Args:
        avatar: Assembled model, frozen.
        problem: Losses of the first batch.
        target: The same frames, with the observations that the metric compares with.
        fitting: Options of fitting.
        grid: Axes of the grid.
        metric: Metric to choose by; the first of the registry's default metrics if None.
        progress: Progress that each finished row advances; there are frames × points rows.

    Raises:
        lipflow_core.errors.SpecError: If the frames lack an observation that the metric compares with.
    """
    metric = default_metric(avatar) if metric is None else metric
    for name in Needs.of([metric.planned]).targets:
        if name not in target.observations:
            raise SpecError(
                f"the grid search scores frames by metric '{metric.config.heading}', which needs the observation "
                f"'{name}'; the frames have {', '.join(target.observations)}",
                hint="load this observation too, or set fitting.grid=null",
            )
    latent = [asks_prior(objective) for objective in problem.objectives.values()]
    rates = grid.learning_rate if fitting.has_learning_rate else (None,)
    points = list(product(rates, grid.latent_weight if any(latent) else (None,)))
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
        learning_rate=torch.tensor([rate for rate, _ in points], **like).repeat(count) if rates[0] else None,
        progress=progress,
    )
    compared = replace(target, observations={name: target[name] for name in Needs.of([metric.planned]).targets})
    # A batch at a time, so that the pictures of all points need not be in memory together.
    scored = []
    for rows, codes in zip(
        torch.arange(len(result)).split(fitting.batch), result.codes.split(fitting.batch), strict=True
    ):
        frames = torch.div(rows, len(points), rounding_mode="floor")
        values, _ = score(avatar, codes, compared.rows(frames), {"chosen by": metric})
        scored.append(values["chosen by"])
    scores = torch.cat(scored).view(count, len(points))
    # A frame that can't be scored leaves the choice to the others.
    means = scores.nanmean(dim=0).tolist()
    sign = 1 if metric.config.higher_is_better else -1
    best = max(range(len(points)), key=lambda i: -math.inf if math.isnan(means[i]) else sign * means[i])
    rate, weight = points[best]
    edges = {"learning_rate": (rate, grid.learning_rate), "latent_weight": (weight, grid.latent_weight)}
    return GridChoice(
        learning_rate=rate,
        latent_weight=weight,
        metric=metric.config.heading,
        unit=metric.config.unit,
        score=means[best],
        points=tuple(
            GridPoint(learning_rate=rate, latent_weight=weight, score=mean)
            for (rate, weight), mean in zip(points, means, strict=True)
        ),
        at_edge=tuple(
            name
            for name, (value, axis) in edges.items()
            if value is not None and len(axis) > 1 and value in (min(axis), max(axis))
        ),
        frames=count,
    )
