"""Fits the frames of a capture: the public entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lipflow_core.avatar import Avatar, frozen
from lipflow_core.errors import CompatibilityError, SpecError
from lipflow_core.fitting.grid import asks_prior, search
from lipflow_core.fitting.loop import minimize
from lipflow_core.fitting.problem import Problem
from lipflow_core.fitting.regions import restricted_masks
from lipflow_core.fitting.result import FittingResult, GridChoice
from lipflow_core.interfaces import Metric, Objective, TemporalPrior
from lipflow_core.interfaces.objective import numbered
from lipflow_core.observing import faults, observe
from lipflow_core.parts import Part
from lipflow_core.plans import Mismatch, Needs, ObjectiveInputs, Shape, TemporalInputs
from lipflow_core.progress import Progress
from lipflow_core.records import Frame
from lipflow_core.selection import spread
from lipflow_core.sequences import runs_of
from lipflow_core.specs.model import Fitting


def fit(
    avatar: Avatar,
    target: Frame,
    fitting: Fitting,
    *,
    objectives: Sequence[Objective] | None = None,
    metric: Metric | None = None,
    chosen: GridChoice | None = None,
    progress: Progress | None = None,
) -> FittingResult:
    """Fit a latent code, and the driving device's pose if `fitting.pose` asks for it, to each frame.

    Minimises Σ_k w_k L_k(code) over the code by `fitting.optimizer` with all networks frozen (paper, supplement H.2:
    Adam). Frames are independent rows of one batch: a row's result does not depend on which others are fitted with it.
    With `fitting.temporal`, that is so of runs: frames of one segment whose numbers follow each other are fitted
    together, Σ_t Σ_k w_k L_k(code_t) + w E(code_1, …, code_T), whatever their order in `target`.
    Nothing is random but `fitting.perturbation`, which has a seed of its own.

    Args:
        avatar: Assembled model; it is left unchanged.
        target: B frames with every observation that the objectives compare with, the driving observation if the prior
            needs it, and the metric's observations if there is a grid.
        fitting: Options of fitting: objectives, optimizer, steps and so on.
        objectives: Built objectives that replace `fitting.objectives`.
        metric: Metric that a grid search chooses by; the first of the registry's default metrics if None.
        chosen: Result of an earlier grid search, which replaces a new search.
        progress: Progress that each finished frame advances (`lipflow_core.progress`).

    Returns:
        The result of B fitted rows.

    Raises:
        lipflow_core.errors.CaptureError: If an observation has other shapes, types or values than its record promises,
            such as NaN or pictures outside [0, 1] (see `lipflow_core.records.Frame.check`).
        lipflow_core.errors.SpecError: If an objective's observation is missing.

    Example:
        >>> result = fit(avatar, frame, spec.fitting)
        >>> picture = avatar.render(avatar.decode(result.codes, camera), camera).image
    """
    built = build_objectives(avatar, target, fitting.objectives) if objectives is None else _named(objectives)
    with frozen(avatar):
        temporal = _temporal(avatar, fitting)
        problem = Problem.of(avatar, target, built, fitting.start, fitting.perturbation, fitting.space, temporal)
        if chosen is None and fitting.grid is not None and fitting.grid.choose_on != "scored":
            raise SpecError(
                f"fitting.grid.choose_on is '{fitting.grid.choose_on}', but only frames to be fitted were given",
                hint="choose on other frames with lipflow_core.fitting.choose(), and pass the result as chosen=…",
            )
        if chosen is None and fitting.grid is not None and len(problem):
            tried = torch.from_numpy(spread(fitting.grid.frames, len(problem)))
            some = problem.rows(tried.to(avatar.device))
            chosen = search(avatar, some, target.rows(tried), fitting, fitting.grid, metric)
        count, dtype = len(problem), problem.template.vertices_mean.dtype
        rate = None if chosen is None else chosen.learning_rate
        runs = [] if temporal is None else runs_of(target.segments, target.numbers.tolist())
        result = minimize(
            problem,
            fitting,
            fitting.optimizer.build(fitting.optimizer_inputs(problem.code_size)),
            frames=torch.arange(count, device=avatar.device),
            weights=torch.tensor(_weights(built, chosen), dtype=dtype, device=avatar.device).expand(count, -1),
            learning_rate=None if rate is None else torch.full((count,), rate, dtype=dtype, device=avatar.device),
            runs=[torch.from_numpy(run).to(avatar.device) for run in runs],
            progress=progress,
        )
    return replace(result, grid=chosen)


def first_codes(avatar: Avatar, target: Frame, fitting: Fitting) -> Tensor:
    """Give the code that a fit of each frame would start from, without fitting: what the driving encoder does alone.

    Args:
        avatar: Assembled model.
        target: B frames with the driving observation, if the prior needs it.
        fitting: Options of fitting; `start` decides.

    Returns:
        (B, D).

    Raises:
        lipflow_core.errors.SpecError: If the driving observation is missing.
        lipflow_core.errors.CaptureError: If it holds NaN or infinity.
    """
    with frozen(avatar):
        return Problem.of(avatar, target, {}, fitting.start).start(fitting.start)


def visible_pictures(avatar: Avatar, target: Frame, fitting: Fitting) -> dict[str, Tensor]:
    """Blacken the pixels that all objectives hide by their regions, to look at what fitting sees.

    Args:
        avatar: Assembled model.
        target: B frames with the observations of all objectives; see `fit`.
        fitting: Options of fitting.

    Returns:
        Observation's name → pictures (B, N, C, H, W), for the observations that no objective sees whole.
    """
    objectives = build_objectives(avatar, target, fitting.objectives)
    target = avatar.bring(target)
    restricted = restricted_masks(avatar, target, objectives)
    whole = {
        name
        for key, objective in objectives.items()
        for name in Needs.of([objective.planned]).rendered
        if name not in restricted.get(key, {})
    }
    found: dict[str, Tensor] = {}
    for masks in restricted.values():
        for name, mask in masks.items():
            if name not in whole:
                found[name] = torch.maximum(found[name], mask) if name in found else mask
    return {name: target[name].images * mask[:, :, None] for name, mask in found.items()}


def choose(
    avatar: Avatar,
    target: Frame,
    fitting: Fitting,
    *,
    objectives: Sequence[Objective] | None = None,
    metric: Metric | None = None,
    progress: Progress | None = None,
) -> GridChoice | None:
    """Choose learning rate and latent weight on some frames by `fitting.grid`; None without a grid.

    The arguments are those of `fit`, whose argument `chosen` takes the result.
    """
    if fitting.grid is None:
        return None
    built = build_objectives(avatar, target, fitting.objectives) if objectives is None else _named(objectives)
    with frozen(avatar):
        problem = Problem.of(avatar, target, built, fitting.start, fitting.perturbation, fitting.space)
        return search(avatar, problem, target, fitting, fitting.grid, metric, progress)


def first_fault(avatar: Avatar, target: Frame, fitting: Fitting) -> str:
    """Name the first thing computed for the first frame that is not finite before any step; "loss" if none is found.

    Args:
        avatar: Assembled model.
        target: Frames as in `fit`; only the first one is examined.
        fitting: Options of fitting.

    Returns:
        A name such as "driving encoding", "first code", "decoded vertices" or "loss of objective 'photometric'".
    """
    one = target.rows(torch.tensor([0]))
    objectives = build_objectives(avatar, one, fitting.objectives)
    with frozen(avatar), torch.no_grad():
        if avatar.driving is not None and avatar.driving.modality in one.observations:
            encoding = avatar.drive(avatar.bring(one))
            if not all(tensor.isfinite().all() for _, tensor in encoding.tensors()):
                return "driving encoding"
        problem = Problem.of(avatar, one, objectives, fitting.start, fitting.perturbation, fitting.space)
        point = problem.points(problem.start(fitting.start))
        code = problem.codes(point)
        face, renderings = observe(avatar, problem.template, code, problem.needs, problem.cameras, problem.directions)
        found = faults(code, face, renderings).get(0)
        if found is not None:
            return "first code" if found == "code" else found
        losses = problem.losses(point)[0]
    bad = [f"loss of objective '{name}'" for name, loss in zip(objectives, losses, strict=True) if not loss.isfinite()]
    return bad[0] if bad else "loss"


def build_objectives(avatar: Avatar, target: Frame, parts: Sequence[Part]) -> dict[str, Objective]:
    """Build the objectives for the frames' observations, by name; repeated names get "#2" and so on."""
    target.check(values=False)
    given = ObjectiveInputs(
        code=avatar.decoder.given.code,
        observations=observations_of(target),
        roles=avatar.roles,
        landmarks=avatar.template.landmarks.numel(),
    )
    dtype = avatar.template.vertices_mean.dtype
    try:
        return numbered([part.name for part in parts], [part.build(given).to(avatar.device, dtype) for part in parts])
    except Mismatch as mismatch:
        raise CompatibilityError(
            str(mismatch),
            hint=f"the frames were loaded with {', '.join(target.observations)}; load what objectives compare with too",
        ) from mismatch


def observations_of(frame: Frame) -> dict[str, Mapping[str, Shape]]:
    """Collect the shapes of a frame's observations, as the inputs of components take them."""
    return {
        name: {tensor: tuple(value.shape[1:]) for tensor, value in record.tensors()}
        for name, record in frame.observations.items()
    }


def _temporal(avatar: Avatar, fitting: Fitting) -> TemporalPrior | None:
    if fitting.temporal is None:
        return None
    built: TemporalPrior = fitting.temporal.build(TemporalInputs(code=avatar.decoder.given.code))
    return built.to(avatar.device, avatar.template.vertices_mean.dtype)


def _named(objectives: Sequence[Objective]) -> dict[str, Objective]:
    return numbered([type(objective).__name__ for objective in objectives], objectives)


def _weights(objectives: Mapping[str, Objective], chosen: GridChoice | None) -> list[float]:
    latent = None if chosen is None else chosen.latent_weight
    return [
        latent if latent is not None and asks_prior(objective) else objective.config.final_weight
        for objective in objectives.values()
    ]
