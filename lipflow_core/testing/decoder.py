"""Checks of decoders."""

from __future__ import annotations

import torch

from lipflow_core.testing.inputs import cameras
from lipflow_core.testing.module import code_of
from lipflow_core.testing.subject import Check, Subject


def shapes_for_any_number_of_views(subject: Subject) -> None:
    decoder = subject.build()
    for views in (0, 1, 3):
        face = decoder(code_of(subject, 2, 1, torch.float32), cameras(2, views, 32, 32).view_direction)
        assert tuple(face.vertices.shape) == (2, subject.given.vertices, 3)
        assert tuple(face.texture.shape) == (2, views, *subject.given.texture)


def geometry_agrees(subject: Subject) -> None:
    decoder = subject.build(jitter=0.05, dtype=torch.float64)
    code = code_of(subject, 2, 1, torch.float64)
    face = decoder(code, cameras(2, 2, 32, 32, torch.float64).view_direction)
    torch.testing.assert_close(decoder.geometry(code), face.vertices)


def views_are_independent(subject: Subject) -> None:
    decoder = subject.build(jitter=0.05, dtype=torch.float64)
    code, directions = code_of(subject, 2, 1, torch.float64), cameras(2, 3, 32, 32, torch.float64).view_direction
    together = decoder(code, directions).texture
    for view in range(3):
        torch.testing.assert_close(decoder(code, directions[:, view : view + 1]).texture, together[:, view : view + 1])


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
        assert value.abs().mean() < 3, f"untrained {name} are {float(value.abs().mean()):.1f} standard deviations off"


def plan_agrees_with_reality(subject: Subject) -> None:
    planned = subject.planned
    assert planned.outputs["vertices"] == (subject.given.vertices, 3)
    assert planned.outputs["texture"] == tuple(subject.given.texture)


CHECKS = [
    Check("shapes for 0, 1 and 3 views", shapes_for_any_number_of_views),
    Check("geometry agrees with decode", geometry_agrees),
    Check("views are independent", views_are_independent),
    Check("the code matters", code_matters),
    Check("starts near the mean face", starts_near_the_mean_face),
    Check("plan agrees with reality", plan_agrees_with_reality),
]
