"""Decoding codes, and drawing them as a capture's cameras saw them: once for all objectives or metrics that look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lipflow_core.avatar import Avatar
from lipflow_core.plans import Needs
from lipflow_core.records import Camera, FaceState, Frame, Rendering, Template


def observe(
    avatar: Avatar,
    template: Template,
    code: Tensor,
    needs: Needs,
    cameras: Mapping[str, Camera],
    directions: Tensor | None = None,
) -> tuple[FaceState | None, Mapping[str, Rendering]]:
    """Decode codes and render what is needed: one decoding for all views, one rendering for each picture size.

    Under autocast only the decoder runs in half precision.

    Args:
        avatar: The model.
        template: Its template, read once by the caller.
        code: (B, D).
        needs: What objectives or metrics look at; nothing else is made.
        cameras: Observation's name → its cameras (B, N), for each of `needs.rendered`.
        directions: (B, N, 3) what `view_directions` gives for these cameras, if the caller has it.

    Returns:
        The face in millimetres and [0, 1], without texture unless something is rendered, or None if none is needed; and
        observation's name → renderings of its N views, B·N pictures ordered sample by sample.
    """
    if not needs.face:
        return None, {}
    groups = _by_size(cameras, needs.rendered)
    if not groups:
        decoded = FaceState(avatar.decoder.geometry(code))
    else:
        decoded = avatar.decoder(code, view_directions(cameras, needs.rendered) if directions is None else directions)
    face = template.restore(decoded.apply(lambda tensor: tensor.to(code.dtype)))
    renderings: dict[str, Rendering] = {}
    first = 0
    for names in groups:
        camera = _side_by_side([cameras[name] for name in names])
        last = first + camera.extrinsics.shape[1]
        with torch.autocast(code.device.type, enabled=False):
            rendering = avatar.render(FaceState(face.vertices, face.texture[:, first:last]), camera)
        renderings |= _parted(rendering, {name: cameras[name].extrinsics.shape[1] for name in names})
        first = last
    return face, renderings


def view_directions(cameras: Mapping[str, Camera], rendered: Sequence[str]) -> Tensor | None:
    """Give the view directions of all rendered pictures in the order that they are drawn in, (B, N, 3).

    None if nothing is rendered.
    """
    names = [name for group in _by_size(cameras, rendered) for name in group]
    return torch.cat([cameras[name].view_direction for name in names], dim=1) if names else None


def cameras_of(frame: Frame, observations: Sequence[str]) -> dict[str, Camera]:
    """Collect the cameras of those observations that have some."""
    return {name: frame[name].camera for name in observations if hasattr(frame[name], "camera")}


def _by_size(cameras: Mapping[str, Camera], rendered: Sequence[str]) -> list[list[str]]:
    """Observations whose pictures are of one size, and so can be drawn at once."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name in rendered:
        groups.setdefault((cameras[name].height, cameras[name].width), []).append(name)
    return list(groups.values())


def _side_by_side(cameras: Sequence[Camera]) -> Camera:
    """The views of all observations, (B, N), as those of one."""
    if len(cameras) == 1:
        return cameras[0]
    intrinsics = torch.cat([camera.intrinsics for camera in cameras], dim=1)
    extrinsics = torch.cat([camera.extrinsics for camera in cameras], dim=1)
    return replace(cameras[0], intrinsics=intrinsics, extrinsics=extrinsics)


def _parted(rendering: Rendering, views: Mapping[str, int]) -> dict[str, Rendering]:
    """Each observation's part of a rendering of B times all their views."""
    if len(views) == 1:
        return dict.fromkeys(views, rendering)
    parts, first, every = {}, 0, sum(views.values())
    for name, count in views.items():

        def part(tensor: Tensor, first: int = first, last: int = first + count) -> Tensor:
            return tensor.unflatten(0, (-1, every))[:, first:last].flatten(0, 1)

        parts[name] = rendering.apply(part)
        first += count
    return parts
