"""Checks renderers on scenes whose pictures are known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lipflow_core.plans import Mismatch, RendererInputs
from lipflow_core.records import Camera, Rendering, Topology
from lipflow_core.testing import inputs
from lipflow_core.testing.subject import Check, Subject, close, refused

HEIGHT, WIDTH, DEPTH, FOCAL = 24, 32, 400.0, 40.0


def square(left: float, top: float, right: float, bottom: float, depth: float = DEPTH) -> tuple[Tensor, Topology]:
    """Make a rectangle that faces the camera; its edges project to these pixel coordinates, and uv spans it, v up."""
    corners = torch.tensor([[left, top], [right, top], [right, bottom], [left, bottom]])
    centre = torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    vertices = torch.cat([(corners - centre) * depth / FOCAL, torch.full((4, 1), depth)], dim=1)
    faces = torch.tensor([[0, 2, 1], [0, 3, 2]])
    return vertices[None], Topology(faces, torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]), faces)


def camera(batch: int = 1) -> Camera:
    """Make a camera at the origin that looks along z."""
    intrinsics = torch.tensor([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1.0]])
    return Camera(intrinsics.expand(batch, 3, 3), torch.eye(4)[:3].expand(batch, 3, 4).contiguous(), HEIGHT, WIDTH)


def _sphere(renderer: Any, batch: int = 2, **changes: Any) -> Rendering:
    vertices, topology = inputs.sphere()
    arguments = {
        "vertices": vertices.expand(batch, -1, -1),
        "texture": inputs.uniform(1, batch, 3, inputs.TEXTURE, inputs.TEXTURE),
        "topology": topology,
        "camera": inputs.cameras(batch, 1, HEIGHT, WIDTH).flatten(),
    }
    return renderer(**{**arguments, **changes})


def a_square_covers_its_pixels(subject: Subject) -> None:
    vertices, topology = square(4.5, 3.5, 20.5, 11.5)
    made = subject.build()(vertices, torch.ones(1, 3, 8, 8), topology, camera())
    expected = torch.zeros(1, HEIGHT, WIDTH)
    expected[:, 4:12, 5:21] = 1
    assert torch.equal(made.coverage, expected), "coverage is not that of the square; pixel centres lie at integers"
    assert torch.equal(made.triangle >= 0, expected.bool()), "triangles are hit elsewhere than coverage says"
    close(f"depth is not that of the square, {DEPTH:g} mm", made.depth, DEPTH * expected, 1e-5)
    close("barycentric weights do not add up to 1 within the square and 0 outside", made.barycentric.sum(1), expected)
    close("a white texture is not drawn white", made.image, expected[:, None].expand(1, 3, -1, -1))


def texture_rows_run_top_down(subject: Subject) -> None:
    """Check that a square of 16×8 pixels shows a texture of 16×8 texels one to one."""
    vertices, topology = square(4.5, 3.5, 20.5, 11.5)
    texture = inputs.uniform(3, 1, 3, 8, 16)
    made = subject.build()(vertices, texture, topology, camera())
    close("a texel to a pixel, the picture is not the texture", made.image[:, :, 4:12, 5:21], texture, 1e-4)


def the_nearer_one_is_seen(subject: Subject) -> None:
    far, topology = square(2.5, 2.5, 28.5, 20.5, 600.0)
    near, _ = square(10.5, 8.5, 20.5, 14.5, 300.0)
    both = Topology(
        torch.cat([topology.triangles, topology.triangles + 4]), topology.uv, topology.uv_triangles.repeat(2, 1)
    )
    made = subject.build()(torch.cat([far, near], dim=1), torch.ones(1, 3, 4, 4), both, camera())
    inside = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    inside[9:15, 11:21] = True
    nearer = torch.full((60,), 300.0)
    close("where two squares overlap, depth is not that of the nearer one", made.depth[0][inside], nearer, 1e-5)
    assert (made.triangle[0][inside] >= 2).all(), "where two squares overlap, the farther one is hit"


def background_shows_where_nothing_is(subject: Subject) -> None:
    background = inputs.uniform(4, 1, 3, HEIGHT, WIDTH)
    made = _sphere(subject.build(), background=background)
    empty = (made.coverage == 0)[:, None].expand_as(made.image)
    behind = background.expand_as(made.image)
    assert torch.equal(made.image[empty], behind[empty]), "where nothing is hit, the picture is not the background"


def shared_texture_and_camera_broadcast(subject: Subject) -> None:
    renderer = subject.build()
    texture, one = inputs.uniform(1, 1, 3, 32, 32), inputs.cameras(1, 1, HEIGHT, WIDTH).flatten()
    both = inputs.cameras(2, 1, HEIGHT, WIDTH).flatten()
    shared = _sphere(renderer, texture=texture, camera=one)
    apart = _sphere(renderer, texture=texture.expand(2, -1, -1, -1), camera=both)
    close("one texture and camera for two samples draw another picture than two alike", shared.image, apart.image)


def empty_pictures_and_batches(subject: Subject) -> None:
    renderer = subject.build()
    vertices, _ = inputs.sphere()
    behind = vertices[None] + torch.tensor([0.0, 0, 5_000])
    nothing = _sphere(renderer, batch=1, vertices=behind, texture=torch.ones(1, 3, 4, 4))
    assert nothing.image.shape == (1, 3, HEIGHT, WIDTH), f"an empty picture has shape {tuple(nothing.image.shape)}"
    assert nothing.image.abs().max() == 0, "a mesh behind the camera is drawn"
    none = _sphere(
        renderer,
        batch=0,
        vertices=vertices[None][:0],
        texture=torch.ones(0, 3, 4, 4),
        camera=inputs.cameras(0, 1, HEIGHT, WIDTH).flatten(),
    )
    assert none.image.shape == (0, 3, HEIGHT, WIDTH), f"an empty batch gives pictures {tuple(none.image.shape)}"


def repeatable(subject: Subject) -> None:
    renderer = subject.build()
    assert torch.equal(_sphere(renderer).image, _sphere(renderer).image), "the same is drawn in two ways"


def texture_gradient_is_exact(subject: Subject) -> None:
    """Check ⟨picture(t), w⟩ = ⟨t, gradient⟩, which holds since the picture is linear in the texture t."""
    texture = inputs.uniform(5, 2, 3, 32, 32).requires_grad_()
    made = _sphere(subject.build(), texture=texture)
    weight = inputs.normal(6, *made.image.shape)
    (made.image * weight).sum().backward()
    claimed, actual = (texture.grad * texture.detach()).sum(), (made.image * weight).sum().detach()
    assert abs(claimed - actual) < 1e-2 + 1e-3 * abs(actual), (
        f"the picture is linear in the texture, ⟨picture, w⟩ = ⟨texture, gradient⟩, but {actual:.4f} ≠ {claimed:.4f}"
    )


def silhouettes_move_with_the_vertices(subject: Subject) -> None:
    """Check that the derivative of a square's area by its width is its height, averaged over sub-pixel positions."""
    renderer, slopes = subject.build(), []
    for step in range(16):
        vertices, topology = square(6.5 + step / 16, 5.5, 18.5 + step / 16, 15.5)
        vertices.requires_grad_()
        renderer(vertices, torch.ones(1, 3, 4, 4), topology, camera()).coverage.sum().backward()
        right = vertices.grad[0, 1:3, 0].sum() * DEPTH / FOCAL
        slopes.append(float(right))
    mean = sum(slopes) / len(slopes)
    assert abs(mean - 10) < 0.6, (
        f"moving the right edge by a pixel should add 10 pixels of area, the gradient says {mean:.2f}"
    )


def gradients_are_finite(subject: Subject) -> None:
    vertices, _ = inputs.sphere()
    flat = vertices.clone()
    flat[:, 2] = 0
    for shape in (vertices, flat, torch.zeros_like(vertices)):
        leaves = [
            shape[None].clone().requires_grad_(),
            inputs.uniform(1, 1, 3, 32, 32).requires_grad_(),
            inputs.cameras(1, 1, HEIGHT, WIDTH).flatten().extrinsics.clone().requires_grad_(),
        ]
        view = inputs.cameras(1, 1, HEIGHT, WIDTH).flatten()
        made = _sphere(
            subject.build(),
            vertices=leaves[0],
            texture=leaves[1],
            camera=Camera(view.intrinsics, leaves[2], HEIGHT, WIDTH),
        )
        loss = (made.image * inputs.normal(2, *made.image.shape)).sum() + made.coverage.sum()
        for name, gradient in zip(
            ("vertices", "texture", "extrinsics"), torch.autograd.grad(loss, leaves), strict=True
        ):
            assert torch.isfinite(gradient).all(), f"the gradient of {name} is not finite"


def other_devices_are_refused(subject: Subject) -> None:
    planned = subject.planned
    for device in ("cpu", "cuda", "tpu"):
        if device in planned.devices:
            continue
        given = RendererInputs(device=device, vertices=42, triangles=80, texture=(3, 32, 32))
        with refused(Mismatch, f"the plan accepts device '{device}', which is not among {planned.devices}"):
            subject.part.plan(given)


CHECKS = [
    Check("a square covers its pixels", a_square_covers_its_pixels),
    Check("texture rows run top-down", texture_rows_run_top_down),
    Check("the nearer one is seen", the_nearer_one_is_seen),
    Check("the background shows where nothing is", background_shows_where_nothing_is),
    Check("shared texture and camera broadcast", shared_texture_and_camera_broadcast),
    Check("empty pictures and batches", empty_pictures_and_batches),
    Check("repeatable", repeatable),
    Check("the texture's gradient is exact", texture_gradient_is_exact),
    Check("silhouettes move with the vertices", silhouettes_move_with_the_vertices),
    Check("gradients are finite, also of flat meshes", gradients_are_finite),
    Check("devices that it does not run on are refused", other_devices_are_refused),
]
