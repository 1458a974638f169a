"""Fits decode only the tiles of the texture that their pictures show."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fitted_avatars import fitting, frame_of

from lipflow_core.avatar import frozen
from lipflow_core.fitting.fit import build_objectives
from lipflow_core.fitting.problem import Problem
from lipflow_core.records import FaceState
from lipflow_core.seeing import Sight, shown_tiles

VIEWS = ("dome", "headset", "frontal")


@pytest.fixture
def problem(dam, codes):
    """A problem with pictures of two sizes that show a part of the head, and whose texture is decoded whole."""
    frame = frame_of(dam, codes)
    closer = {}
    for name in VIEWS:
        intrinsics = frame[name].camera.intrinsics.clone()
        intrinsics[..., :2, :2] *= 12
        closer[name] = replace(frame[name], camera=replace(frame[name].camera, intrinsics=intrinsics))
    frame = replace(frame, observations={**frame.observations, **closer})
    options = fitting([{"type": "photometric", "target": name} for name in VIEWS])
    with frozen(dam):
        yield Problem.of(dam, frame, build_objectives(dam, frame, options.objectives))


def sight_of(avatar):
    """What larger textures are decoded with."""
    template, tile = avatar.template, avatar.decoder.tile
    return Sight(shown_tiles(template.topology, template.texture_mean.shape[-1], tile).flatten(1).float(), tile)


def test_losses_and_gradients_are_those_of_the_whole_texture(problem, dam, codes):
    found = []
    for sight in (None, sight_of(dam)):
        code = (codes + 0.1).requires_grad_()
        losses = replace(problem, sight=sight).losses(code)
        found.append((losses, *torch.autograd.grad(losses.sum(), code)))
    for whole, seen in zip(*found, strict=True):
        torch.testing.assert_close(seen, whole)


def test_pictures_show_a_part_of_the_texture_and_no_other_texel_has_a_gradient(problem, dam, codes):
    sight, template, camera = sight_of(dam), dam.template, problem.cameras["dome"]
    vertices = dam.geometry(codes)
    seen = sight.seen(dam, vertices, template.topology, camera)
    assert 0 < seen.double().mean() < 1
    views = camera.extrinsics.shape[1]
    texture = template.texture_mean.expand(len(codes), views, -1, -1, -1).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(dam.render(FaceState(vertices, texture), camera).image.sum(), texture)
    reached = gradient.unflatten(-1, (-1, sight.tile)).unflatten(-3, (-1, sight.tile)).abs().sum(dim=(2, 4, 6)) > 0
    assert reached.any()
    assert not (reached & ~seen).any()


def test_small_textures_are_decoded_whole(dam):
    assert Sight.of(dam, dam.template) is None


def test_a_picture_that_shows_nothing_is_black(problem, dam, codes):
    intrinsics = {name: camera.intrinsics.clone() for name, camera in problem.cameras.items()}
    for matrices in intrinsics.values():
        matrices[..., 0, 2] += 1e4
    away = {name: replace(camera, intrinsics=intrinsics[name]) for name, camera in problem.cameras.items()}
    whole, seen = (replace(problem, cameras=away, sight=sight).losses(codes) for sight in (None, sight_of(dam)))
    torch.testing.assert_close(seen, whole)
