"""Choosing learning rate and latent weight on a first batch of frames, all points of the grid at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Self

import torch

from lipflow_core.avatar import Avatar
from lipflow_core.errors import SpecError
from lipflow_core.evaluation.metrics import psnr, wholly_shown
from lipflow_core.fitting.loop import minimize
from lipflow_core.fitting.problem import Problem
from lipflow_core.interfaces import Objective
from lipflow_core.progress import Progress
from lipflow_core.records import Frame, Views
from lipflow_core.specs.model import Fitting, Grid


@dataclass(frozen=True)
class GridChoice:
    """The point of a hyper-parameter grid that scored best.

    Args:
        learning_rate: Of the code.
        latent_weight: Of the objectives that ask the prior; None if there is none.
        score: Mean PSNR in dB, of the view that frames are scored on; NaN if no frame could be scored.
        scores: Every point with its score.
        at_edge: Which of "learning_rate" and "latent_weight" lies at the edge of its axis, so that better values may
            lie beyond.
        frames: Frames that the points were tried on.
    """

    learning_rate: float
    latent_weight: float | None
    score: float
    scores: tuple[Mapping[str, float | None], ...]
    at_edge: tuple[str, ...]
    frames: int

    def as_data(self) -> dict[str, Any]:
        """For JSON, where NaN is null; `from_data` reads it."""
        scores = [{**point, "score": _number(point["score"])} for point in self.scores]
        return {**asdict(self), "score": _number(self.score), "scores": scores, "at_edge": list(self.at_edge)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        scores = tuple({**point, "score": _score(point["score"])} for point in data["scores"])
        return cls(**{**data, "score": _score(data["score"]), "scores": scores, "at_edge": tuple(data["at_edge"])})

    def describe(self) -> str:
        """What was chosen, as part of a sentence."""
        weight = "" if self.latent_weight is None else f" and latent weight {self.latent_weight:g}"
        score = "no frame could be scored" if math.isnan(self.score) else f"{self.score:.2f} dB"
        return f"learning rate {self.learning_rate:g}{weight} ({score}; {self.frames} frames tried)"

    def warning(self) -> str | None:
        """A sentence on axes that should be wider; None if the choice lies within all of them."""
        names = [name.replace("_", " ") for name in self.at_edge]
        if not names:
            return None
        verb = "lies at the edge of its" if len(names) == 1 else "lie at the edges of their"
        return f"the {' and '.join(names)} {verb} grid; better values may lie beyond"


def asks_prior(objective: Objective) -> bool:
    """Whether an objective is of the latent kind, whose weight the grid searches."""
    return "prior" in objective.planned.needs


def search(
    avatar: Avatar,
    problem: Problem,
    target: Frame,
    fitting: Fitting,
    grid: Grid,
    view: str,
    progress: Progress | None = None,
) -> GridChoice:
    """Fit the problem's frames at every point of the grid together and score the fitted codes.

    Args:
        avatar: The assembled model, frozen.
        problem: The first batch's losses.
        target: The same frames, with the observation `view`.
        fitting: How to fit.
        grid: The axes.
        view: Observation whose picture is scored, such as "frontal".
        progress: Advanced by each finished row, of which there are frames × points.

    Raises:
        SpecError: If the frames lack the observation `view`.
    """
    if not isinstance(target.observations.get(view), Views):
        raise SpecError(
            f"the grid search scores pictures of the observation '{view}', which the frames do not have; "
            f"they have {', '.join(target.observations)}",
            hint="load that observation too, or leave out fitting.grid",
        )
    latent = [asks_prior(objective) for objective in problem.objectives.values()]
    points = list(product(grid.learning_rate, grid.latent_weight if any(latent) else (None,)))
    count, like = len(problem), {"dtype": problem.template.vertices_mean.dtype, "device": avatar.device}
    fixed = [objective.config.weight for objective in problem.objectives.values()]
    weights = [
        [rate_weight[1] if asks else own for own, asks in zip(fixed, latent, strict=True)] for rate_weight in points
    ]
    # Frame by frame, so that the points of one frame, which need about as many steps, are at work together.
    result = minimize(
        problem,
        fitting,
        frames=torch.arange(count, device=avatar.device).repeat_interleave(len(points)),
        learning_rate=torch.tensor([rate for rate, _ in points], **like).repeat(count),
        weights=torch.tensor(weights, **like).repeat(count, 1),
        progress=progress,
    )
    # A frame whose mask is empty has no score: the others choose.
    scores = view_psnr(avatar, result.codes, target[view].to(avatar.device), len(points)).nanmean(dim=0).tolist()
    best = max(range(len(points)), key=lambda i: -math.inf if math.isnan(scores[i]) else scores[i])
    rate, weight = points[best]
    edges = {"learning_rate": (rate, grid.learning_rate), "latent_weight": (weight, grid.latent_weight)}
    return GridChoice(
        learning_rate=rate,
        latent_weight=weight,
        score=scores[best],
        scores=tuple(
            {"learning_rate": rate, "latent_weight": weight, "score": score}
            for (rate, weight), score in zip(points, scores, strict=True)
        ),
        at_edge=tuple(
            name
            for name, (value, axis) in edges.items()
            if value is not None and len(axis) > 1 and value in (min(axis), max(axis))
        ),
        frames=count,
    )


@torch.no_grad()
def view_psnr(avatar: Avatar, codes: torch.Tensor, views: Views, points: int) -> torch.Tensor:
    """(B, points) dB: the mean over a frame's pictures of each of its codes, (B·points, D) frame by frame."""
    rows = []
    for i, group in enumerate(codes.split(points)):
        seen = views.rows(torch.full((points,), i, device=codes.device))
        picture = avatar.render(avatar.decode(group, seen.camera), seen.camera).image.clamp(0, 1)
        values = psnr(picture, seen.images.flatten(0, 1), wholly_shown(seen.mask).flatten(0, 1))
        rows.append(values.reshape(points, -1).nanmean(dim=1))
    return torch.stack(rows)


def _number(score: float) -> float | None:
    return score if math.isfinite(score) else None


def _score(number: float | None) -> float:
    return math.nan if number is None else number
