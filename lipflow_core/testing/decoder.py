"""Checks decoders: shapes, geometry, parts of the texture, and independence of views."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from einops import rearrange

from lipflow_core.avatar import frozen
from lipflow_core.testing.inputs import cameras, normal
from lipflow_core.testing.module import code_of
from lipflow_core.testing.subject import Check, Subject, close


def shapes_for_any_number_of_views(subject: Subject) -> None:
    decoder = subject.build()
    for views in (0, 1, 3):
        face = decoder(code_of(subject, 2, 1, torch.float32), cameras(2, views, 32, 32).view_direction)
        wanted = {"vertices": (2, subject.given.vertices, 3), "texture": (2, views, *subject.given.texture)}
        for name, shape in wanted.items():
            got = tuple(getattr(face, name).shape)
            assert got == shape, f"for 2 codes and {views} views, {name} must have shape {shape}, got {got}"


def geometry_agrees(subject: Subject) -> None:
    decoder = subject.build(jitter=0.05, dtype=torch.float64)
    code = code_of(subject, 2, 1, torch.float64)
    face = decoder(code, cameras(2, 2, 32, 32, torch.float64).view_direction)
    close("geometry() makes other vertices than decoding does", decoder.geometry(code), face.vertices)


def views_are_independent(subject: Subject) -> None:
    decoder = subject.build(jitter=0.05, dtype=torch.float64)
    code, directions = code_of(subject, 2, 1, torch.float64), cameras(2, 3, 32, 32, torch.float64).view_direction
    together = decoder(code, directions).texture
    for view in range(3):
        alone = decoder(code, directions[:, view : view + 1]).texture
        close("the texture of a view depends on the other views", together[:, view : view + 1], alone)


def tiles_are_parts_of_the_texture(subject: Subject) -> None:
    decoder = subject.build(jitter=0.05, dtype=torch.float64)
    if decoder.tile is None:
        return
    side = subject.given.texture[-1]
    count, rest = divmod(side, decoder.tile)
    assert not rest, f"tiles of {decoder.tile} texels do not divide a texture of {side}"
    code = code_of(subject, 2, 1, torch.float64).requires_grad_()
    directions = cameras(2, 3, 32, 32, torch.float64).view_direction
    place = (normal(5, count, count, 2, 3) > 0).nonzero()
    row, column, sample, view = place.unbind(1)
    for state in (nullcontext(), frozen(decoder)):
        with state:
            tiles = decoder.texture_tiles(code, directions, place)
            texture = decoder(code, directions).texture
            parts = rearrange(texture, "b n c (k h) (l w) -> k l b n c h w", k=count, l=count)
            parts = parts[row, column, sample, view]
            close("tiles differ from these parts of the whole texture", tiles, parts)
            weights = normal(6, *parts.shape, dtype=torch.float64)
            got, wanted = (torch.autograd.grad(made, code, weights)[0] for made in (tiles, parts))
            close("gradients of tiles differ from those of these parts of the whole texture", got, wanted)
    none = decoder.texture_tiles(code, directions, place[:0])
    assert none.shape == (0, 3, decoder.tile, decoder.tile), f"no tiles must have no rows, got {tuple(none.shape)}"


def code_matters(subject: Subject) -> None:
    decoder = subject.build(jitter=0.05, dtype=torch.float64)
    direction = cameras(2, 1, 32, 32, torch.float64).view_direction
    one = decoder(code_of(subject, 2, 1, torch.float64), direction)
    other = decoder(code_of(subject, 2, 2, torch.float64), direction)
    assert not torch.allclose(one.vertices, other.vertices), "the code does not move a vertex"
    assert not torch.allclose(one.texture, other.texture), "the code does not change a texel"


def starts_near_the_mean_face(subject: Subject) -> None:
    face = subject.build()(code_of(subject, 4, 1, torch.float32), cameras(4, 1, 32, 32).view_direction)
    for name, value in (("vertices", face.vertices), ("texture", face.texture)):
        off = float(value.detach().abs().mean())
        assert off < 3, f"untrained {name} are {off:.1f} standard deviations off the mean"


def plan_agrees_with_reality(subject: Subject) -> None:
    planned = subject.planned
    for name, shape in (("vertices", (subject.given.vertices, 3)), ("texture", tuple(subject.given.texture))):
        got = planned.outputs.get(name)
        assert got == shape, f"its plan says {name} {got}, it was given {shape}"


CHECKS = [
    Check("shapes for 0, 1 and 3 views", shapes_for_any_number_of_views),
    Check("geometry agrees with decode", geometry_agrees),
    Check("views are independent", views_are_independent),
    Check("tiles are parts of the texture", tiles_are_parts_of_the_texture),
    Check("the code matters", code_matters),
    Check("starts near the mean face", starts_near_the_mean_face),
    Check("plan agrees with reality", plan_agrees_with_reality),
]
