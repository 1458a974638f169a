"""Decodes codes and renders them for a capture's cameras, once for all objectives or metrics.

This module also has the checks whether a model's output is finite (`faults`, `sound`) and whether a frame shows
anything (`shows_nothing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lipflow_core.avatar import Avatar
from lipflow_core.errors import NumericalError
from lipflow_core.plans import Needs
from lipflow_core.records import Camera, FaceState, Frame, Keypoints, Rendering, Template, Views
from lipflow_core.seeing import Sight


def observe(
    avatar: Avatar,
    template: Template,
    code: Tensor,
    needs: Needs,
    cameras: Mapping[str, Camera],
    directions: Tensor | None = None,
    sight: Sight | None = None,
) -> tuple[FaceState | None, Mapping[str, Rendering]]:
    """Decode codes and render the needed observations: one decoding for all views, one rendering per picture size.

    Under autocast only the decoder runs in half precision.

    Args:
        avatar: Model that decodes and renders.
        template: Template of the model, read once by the caller.
        code: (B, D).
        needs: Needs of the objectives or metrics; nothing else is computed.
        cameras: Observation's name → its cameras (B, N), for each of `needs.rendered`.
        directions: (B, N, 3) result of `view_directions` for these cameras; computed if None.
        sight: Tiles that triangles show, to decode only the texels that the pictures show; None to decode all.

    Returns:
        The face in millimetres and [0, 1], or None if no face is needed; it has a texture only if something is
        rendered and `sight` is None. And observation's name → renderings of its N views, B·N pictures ordered sample
        by sample.
    """
    if not needs.face:
        return None, {}
    groups = _by_size(cameras, needs.rendered)
    drawn = [_side_by_side([cameras[name] for name in names]) for names in groups]
    if drawn and directions is None:
        directions = view_directions(cameras, needs.rendered)
    whole = bool(drawn) and sight is None
    decoded = avatar.decoder(code, directions) if whole else FaceState(avatar.decoder.geometry(code))
    face = template.restore(decoded.apply(lambda tensor: tensor.to(code.dtype)))
    texture = face.texture
    if drawn and sight is not None:
        seen = [sight.seen(avatar, face.vertices, template.topology, camera) for camera in drawn]
        texture = sight.texture(avatar, template, code, directions, torch.cat(seen, dim=1))
    renderings: dict[str, Rendering] = {}
    first = 0
    for names, camera in zip(groups, drawn, strict=True):
        last = first + camera.extrinsics.shape[1]
        # A slice would cost its backward pass a copy of all textures.
        textures = texture if len(groups) == 1 else texture[:, first:last]
        with torch.autocast(code.device.type, enabled=False):
            rendering = avatar.render(FaceState(face.vertices, textures), camera)
        renderings |= _parted(rendering, {name: cameras[name].extrinsics.shape[1] for name in names})
        first = last
    return face, renderings


def view_directions(cameras: Mapping[str, Camera], rendered: Sequence[str]) -> Tensor | None:
    """Collect the view directions of all rendered pictures in rendering order, (B, N, 3); None without pictures."""
    names = [name for group in _by_size(cameras, rendered) for name in group]
    return torch.cat([cameras[name].view_direction for name in names], dim=1) if names else None


def cameras_of(frame: Frame, observations: Sequence[str]) -> dict[str, Camera]:
    """Collect the cameras of the observations that have cameras."""
    return {name: frame[name].camera for name in observations if hasattr(frame[name], "camera")}


@torch.no_grad()
def draw(avatar: Avatar, code: Tensor, camera: Camera) -> tuple[Tensor, dict[int, str]]:
    """Decode codes and render them as pictures to look at.

    Args:
        avatar: Assembled model, in evaluation mode.
        code: (B, D).
        camera: Cameras with leading axes (B, N).

    Returns:
        The pictures (B, N, C, H, W) in [0, 1], and the result of `faults` for the samples.
    """
    face = avatar.decode(code, camera)
    rendering = avatar.render(face, camera)
    pictures = rendering.image.unflatten(0, camera.extrinsics.shape[:2]).clamp(0, 1)
    return pictures, faults(code, face, {"": rendering})


def faults(code: Tensor, face: FaceState | None, renderings: Mapping[str, Rendering]) -> dict[int, str]:
    """Find the samples whose code, surface or pictures hold NaN or infinity.

    Args:
        code: (B, D).
        face: Decoded face; None if nothing was decoded.
        renderings: Renderings of the samples, as `observe` returns them.

    Returns:
        Number of a sample → the first of "code", "decoded vertices", "decoded texture" and "rendered picture" that is
        not finite. Samples that are finite are left out.
    """
    made = [("code", code)]
    if face is not None:
        made += [("decoded vertices", face.vertices), ("decoded texture", face.texture)]
    made += [("rendered picture", rendering.image) for rendering in renderings.values()]
    found: dict[int, str] = {}
    for name, tensor in made:
        # One pass and no temporary: a sum is finite only if everything in it is.
        if tensor is not None and not torch.isfinite(tensor.sum()):
            bad = ~tensor.reshape(len(code), -1).isfinite().all(dim=1)
            for sample in bad.nonzero()[:, 0].tolist():
                found.setdefault(sample, name)
    return found


def sound(losses: Iterable[Tensor], face: FaceState | None) -> list[Tensor]:
    """Set a sample's losses to NaN if its decoded vertices are not finite.

    Renderers draw nothing where vertices are NaN, which may well cost less than a picture. It does not wait for the
    device.

    Args:
        losses: (B,) of each objective.
        face: Decoded surface; None if nothing was decoded.

    Returns:
        (B,) of each objective.
    """
    if face is None:
        return list(losses)
    finite = face.vertices.detach().flatten(1).sum(dim=1).isfinite()
    return [torch.where(finite, loss, torch.nan) for loss in losses]


def not_finite(what: str) -> NumericalError:
    """Make the error for a model whose output is NaN or infinity; `what` names the model, the frame and the part."""
    return NumericalError(
        f"{what} holds NaN or infinity",
        "The model's weights are damaged or its training ran away; `metrics.jsonl` of its folder may tell when.",
    )


def shows_nothing(frame: Frame) -> Tensor:
    """Tell which samples show nothing to compare with: all masks of their views are empty, all keypoints hidden.

    Returns:
        (B,) bool; False if there is no observation, or one of another kind.
    """
    shown = torch.zeros(len(frame), dtype=torch.bool, device=frame.numbers.device)
    for observation in frame.observations.values():
        match observation:
            case Views(mask=counted) | Keypoints(visible=counted):
                shown |= (counted > 0).flatten(1).any(dim=1)
            case _:
                return torch.zeros_like(shown)
    return ~shown if frame.observations else shown


def _by_size(cameras: Mapping[str, Camera], rendered: Sequence[str]) -> list[list[str]]:
    """Group observations by picture size: pictures of one size are rendered together."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name in rendered:
        groups.setdefault((cameras[name].height, cameras[name].width), []).append(name)
    return list(groups.values())


def _side_by_side(cameras: Sequence[Camera]) -> Camera:
    """Concatenate the cameras of all observations along the view axis, (B, N)."""
    if len(cameras) == 1:
        return cameras[0]
    intrinsics = torch.cat([camera.intrinsics for camera in cameras], dim=1)
    extrinsics = torch.cat([camera.extrinsics for camera in cameras], dim=1)
    return replace(cameras[0], intrinsics=intrinsics, extrinsics=extrinsics)


def _parted(rendering: Rendering, views: Mapping[str, int]) -> dict[str, Rendering]:
    """Split a rendering of all observations' views into one for each observation."""
    if len(views) == 1:
        return dict.fromkeys(views, rendering)
    parts, first, every = {}, 0, sum(views.values())
    for name, count in views.items():

        def part(tensor: Tensor, first: int = first, last: int = first + count) -> Tensor:
            return tensor.unflatten(0, (-1, every))[:, first:last].flatten(0, 1)

        parts[name] = rendering.apply(part)
        first += count
    return parts
