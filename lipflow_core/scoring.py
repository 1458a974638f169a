"""Scores decoded codes against the captured observations, by the metrics that a spec names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lipflow_core.avatar import Avatar
from lipflow_core.interfaces import Metric, State
from lipflow_core.interfaces.objective import numbered
from lipflow_core.observing import cameras_of, faults, observe
from lipflow_core.parts import MetricSlot, Part
from lipflow_core.plans import MetricInputs, Needs
from lipflow_core.records import Frame


def build_metrics(avatar: Avatar, parts: Sequence[Part], view: str | None = None) -> dict[str, Metric]:
    """Build metrics for the observations of the model's capture, by name; repeated names get "#2" and so on.

    Args:
        avatar: Assembled model.
        parts: Metrics with their options, such as `spec.evaluation.metrics`.
        view: Observation whose pictures are compared; the capture's scored view if None.
    """
    roles = avatar.roles
    given = MetricInputs(
        code=avatar.decoder.given.code,
        observations=avatar.capture.observations,
        roles=roles,
        view=view or roles.scored_view,
        landmarks=avatar.template.landmarks.numel(),
    )
    dtype = avatar.template.vertices_mean.dtype
    return numbered([part.name for part in parts], [part.build(given).to(avatar.device, dtype) for part in parts])


def default_metric(avatar: Avatar) -> Metric:
    """Build the first metric that the registry names as a default, for the capture's scored view."""
    from pydantic import TypeAdapter

    from lipflow_core.registry import default_registry

    part = TypeAdapter(MetricSlot).validate_python(default_registry().default("metrics")[0])
    return build_metrics(avatar, [part])[part.name]


@torch.no_grad()
def score(
    avatar: Avatar,
    code: Tensor,
    target: Frame,
    metrics: Mapping[str, Metric],
    *,
    neighbours: Tensor | None = None,
    pose: Tensor | None = None,
) -> tuple[dict[str, Tensor], dict[int, str]]:
    """Decode codes, render them where metrics need it, and score them.

    Args:
        avatar: Assembled model, in evaluation mode.
        code: (B, D).
        target: B frames with the observations that the metrics compare with. Metrics whose observations are missing
            give NaN.
        metrics: Name → metric.
        neighbours: (B, 2, D) codes of the frames before and after, NaN where there is none (see `neighbouring`).
            Metrics that need them give NaN if None.
        pose: (B, 3, 4) [R|t] by which the driving cameras are displaced from the true ones. Metrics that need it give
            NaN if None.

    Returns:
        Metric's name → (B,) scores; and the result of `lipflow_core.observing.faults`, the samples whose code, surface
        or pictures are not finite. All scores of these samples are NaN.
    """
    offered = target.observations.keys()
    wanted = {name: Needs.of([metric.planned]) for name, metric in metrics.items()}
    able = {
        name: metrics[name]
        for name, need in wanted.items()
        if set(need.targets) <= offered
        and not (need.neighbours and neighbours is None)
        and not (need.pose and pose is None)
    }
    needs = Needs.of(metric.planned for metric in able.values())
    seen = avatar.bring(Frame(target.segments, target.numbers, {name: target[name] for name in needs.targets}))
    cameras, template = cameras_of(seen, needs.targets), avatar.template
    face, renderings = observe(avatar, template, code, needs, cameras)
    state = State(
        code=code,
        template=template,
        face=face,
        renderings=renderings,
        cameras=cameras,
        neighbours=_decoded(avatar, neighbours) if needs.neighbours and neighbours is not None else None,
        pose=pose.to(code) if needs.pose and pose is not None else None,
    )
    unknown = code.new_full((code.shape[0],), torch.nan)
    found = faults(code, face, renderings)
    bad = torch.tensor([row in found for row in range(len(code))], dtype=torch.bool, device=code.device)
    scores = {
        name: able[name](state, seen).masked_fill(bad, torch.nan) if name in able else unknown for name in metrics
    }
    return scores, found


def neighbouring(code: Tensor, segments: Sequence[str], numbers: Sequence[int]) -> Tensor:
    """Collect the codes of the frames whose numbers are one lower and one higher in the same segment.

    Args:
        code: (N, D).
        segments: N names of segments.
        numbers: (N,) frame numbers.

    Returns:
        (N, 2, D); NaN where such a frame is not among the N.

    Example:
        >>> neighbouring(torch.tensor([[5.0], [6.0], [7.0]]), ["smile", "smile", "frown"], [0, 1, 2])[..., 0]
        tensor([[nan, 6.],
                [5., nan],
                [nan, nan]])
    """
    place = {frame: row for row, frame in enumerate(zip(segments, map(int, numbers), strict=True))}
    rows = [
        [place.get((segment, number + step), -1) for step in (-1, 1)]
        for segment, number in zip(segments, map(int, numbers), strict=True)
    ]
    index = torch.tensor(rows, dtype=torch.int64, device=code.device).view(-1, 2)
    return torch.where(index[..., None] >= 0, code[index.clamp(min=0)], torch.nan)


def _decoded(avatar: Avatar, codes: Tensor) -> Tensor:
    """Decode neighbours' codes (B, 2, D) to vertices (B, 2, V, 3), NaN where a code is."""
    missing = ~codes.isfinite().all(dim=-1)
    vertices = avatar.geometry(torch.where(missing[..., None], 0, codes).flatten(0, 1)).unflatten(0, (-1, 2))
    return torch.where(missing[..., None, None], torch.nan, vertices)
