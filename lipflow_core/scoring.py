"""Scores of decoded codes against what the capture recorded, by the metrics that a spec names."""

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
    """Build metrics for what the model's capture offers, by name; a second one of a name gets "#2" and so on.

    Args:
        avatar: The assembled model.
        parts: Such as `spec.evaluation.metrics`.
        view: Observation that pictures are compared in; the capture's scored view if None.
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
    avatar: Avatar, code: Tensor, target: Frame, metrics: Mapping[str, Metric]
) -> tuple[dict[str, Tensor], dict[int, str]]:
    """Decode codes, draw them as the metrics need it, and score them.

    Args:
        avatar: The assembled model, in evaluation mode.
        code: (B, D).
        target: B frames with what the metrics compare with. Metrics whose observations are missing give NaN.
        metrics: By name.

    Returns:
        Metric's name → (B,), and the samples whose code, surface or pictures are not finite, as
        `lipflow_core.observing.faults` gives them; all their scores are NaN.
    """
    offered = target.observations.keys()
    able = {name: metric for name, metric in metrics.items() if set(Needs.of([metric.planned]).targets) <= offered}
    needs = Needs.of(metric.planned for metric in able.values())
    seen = avatar.bring(Frame(target.segments, target.numbers, {name: target[name] for name in needs.targets}))
    cameras, template = cameras_of(seen, needs.targets), avatar.template
    face, renderings = observe(avatar, template, code, needs, cameras)
    state = State(code=code, template=template, face=face, renderings=renderings, cameras=cameras)
    unknown = code.new_full((code.shape[0],), torch.nan)
    found = faults(code, face, renderings)
    bad = torch.tensor([row in found for row in range(len(code))], dtype=torch.bool, device=code.device)
    scores = {
        name: able[name](state, seen).masked_fill(bad, torch.nan) if name in able else unknown for name in metrics
    }
    return scores, found
