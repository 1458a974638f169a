"""Restricts pictures to regions of the tracked surface, such as eyes and mouth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lipflow_core.avatar import Avatar
from lipflow_core.errors import SpecError
from lipflow_core.interfaces import Objective
from lipflow_core.plans import Needs
from lipflow_core.records import Camera, Frame, Template, Views

_PIXELS = 1 << 23
"""Pixels that are drawn at once; each takes about 70 bytes."""


def restricted_masks(
    avatar: Avatar, target: Frame, objectives: Mapping[str, Objective]
) -> dict[str, dict[str, Tensor]]:
    """Restrict the masks of pictures to the regions that objectives name; each view is drawn once for all of them.

    Args:
        avatar: Assembled model; its renderer draws and its template has the regions.
        target: B frames on the model's device, with the tracked surface and with the true cameras.
        objectives: Objectives by name.

    Returns:
        Objective's name → observation's name → mask (B, N, H, W) in [0, 1]: the target's mask times the largest weight
        of the objective's regions in each pixel. Objectives that name no region are not in it.

    Raises:
        lipflow_core.errors.SpecError: If the model's template lacks a region.
    """
    wanted = {name: Needs.of([objective.planned]).regions for name, objective in objectives.items()}
    wanted = {name: pairs for name, pairs in wanted.items() if pairs}
    if not wanted:
        return {}
    template, surface = avatar.template, target[avatar.roles.surface]
    seen: dict[str, dict[str, Tensor]] = {}
    for observation in dict.fromkeys(name for pairs in wanted.values() for name, _ in pairs):
        regions = dict.fromkeys(region for pairs in wanted.values() for name, region in pairs if name == observation)
        seen[observation] = _seen(avatar, template, surface.vertices, target[observation].camera, tuple(regions))
    masks: dict[str, dict[str, Tensor]] = {}
    for objective, pairs in wanted.items():
        for observation in dict.fromkeys(name for name, _ in pairs):
            weights = [seen[observation][region] for name, region in pairs if name == observation]
            shown = torch.stack(weights).amax(dim=0).to(target[observation].mask.dtype)
            masks.setdefault(objective, {})[observation] = target[observation].mask * shown
    return masks


def with_masks(target: Frame, masks: Mapping[str, Tensor]) -> Frame:
    """Replace the masks of some views of a frame."""
    if not masks:
        return target
    changed = {name: Views(target[name].images, target[name].camera, mask) for name, mask in masks.items()}
    return Frame(target.segments, target.numbers, {**target.observations, **changed})


@torch.no_grad()
def _seen(
    avatar: Avatar, template: Template, vertices: Tensor, camera: Camera, regions: Sequence[str]
) -> dict[str, Tensor]:
    """Draw the weight with which each pixel of the views shows each region of the surface: name → (B, N, H, W)."""
    lacking = [name for name in regions if name not in template.regions]
    if lacking:
        raise SpecError(
            f"fitting is restricted to the region '{lacking[0]}', which the model's template lacks; it has "
            f"{', '.join(template.regions) or 'no regions'}",
            hint="name other regions, or train a model on a capture that defines this one",
        )
    texture = template.texture_mean[None].to(vertices)
    views = camera.extrinsics.shape[1]
    together = max(1, _PIXELS // (views * camera.height * camera.width))
    found: dict[str, list[Tensor]] = {name: [] for name in regions}
    for rows in torch.arange(len(vertices), device=vertices.device).split(together):
        drawn = avatar.renderer(vertices[rows], texture, template.topology, camera.rows(rows))
        corners = template.topology.triangles[drawn.triangle.clamp(min=0)]
        shown = (drawn.triangle >= 0).to(vertices.dtype)
        for name, parts in found.items():
            weight = (template.regions[name].to(vertices)[corners] * drawn.barycentric.movedim(1, -1)).sum(dim=-1)
            parts.append((weight * shown).clamp(0, 1).unflatten(0, (len(rows), views)))
    return {name: torch.cat(parts) for name, parts in found.items()}
