"""The operators of renderer `cpu`, registered with `torch.library`, which graphs of `torch.compile` call.

Topologies are passed as their tensors. Operators return empty tensors for gradients that are not wanted, and gradients
of projections and backgrounds in the shape of these.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_core.records import Topology
from lipflow_render.cpu import backward, forward
from lipflow_render.cpu.batch import Saved
from lipflow_render.cpu.cpu_topology import CpuTopology, cpu_topology


def _operator(function):
    """Register a function that changes none of its arguments as an operator of the renderer."""
    return torch.library.custom_op(f"lipflow_render::cpu_{function.__name__}", mutates_args=())(function)


def _mesh(vertices: Tensor, triangles: Tensor, uv: Tensor, uv_triangles: Tensor) -> CpuTopology:
    return cpu_topology(Topology(triangles, uv, uv_triangles), vertices)


def _all(gradients: tuple[Tensor | None, ...], like: Tensor) -> tuple[Tensor, ...]:
    """Gradients as operators return them."""
    return tuple(like.new_empty(0) if gradient is None else gradient for gradient in gradients)


def _wanted(gradients: tuple[Tensor, ...], wants: list[bool], others: int) -> tuple[Tensor | None, ...]:
    """Gradients as autograd takes them: None where not wanted, and for the other arguments."""
    return *(g if wanted else None for g, wanted in zip(gradients, wants, strict=True)), *[None] * others


def _like(inputs: tuple[Tensor | None, ...], wants: list[bool]) -> tuple[Tensor, ...]:
    """Gradients as operators return them, not written yet."""
    return tuple(
        torch.empty_like(given, memory_format=torch.contiguous_format) if wanted else inputs[0].new_empty(0)
        for given, wanted in zip(inputs, wants, strict=True)
    )


@_operator
def draw(
    vertices: Tensor, projection: Tensor, texture: Tensor, background: Tensor | None, triangles: Tensor, uv: Tensor,
    uv_triangles: Tensor, height: int, width: int, near: float, with_boundaries: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Draw B pictures of `height` rows and `width` columns.

    Vertices, texture and background are all float32 or all float64; other arguments are as in `forward.draw` and
    `backward.draw_backward`.

    Returns:
        image (B, C, H, W), and for the other operators the tensors of `Saved`.
    """
    mesh = _mesh(vertices, triangles, uv, uv_triangles)
    image, saved = forward.draw(vertices, projection, texture, background, mesh, uv, (height, width), near)
    return image, *saved


@draw.register_fake
def _(vertices, projection, texture, background, triangles, uv, uv_triangles, height, width, near, with_boundaries):
    def make(shape, dtype):
        return vertices.new_empty(shape, dtype=dtype)

    image = make((vertices.shape[0], texture.shape[1], height, width), vertices.dtype)
    return image, *Saved.empty(make, vertices, len(triangles), (height, width))


@_operator
def draw_backward(
    gradient: Tensor, vertices: Tensor, projection: Tensor, texture: Tensor, background: Tensor | None,
    triangles: Tensor, uv: Tensor, uv_triangles: Tensor, near: float, with_boundaries: bool, image: Tensor,
    points: Tensor, found: Tensor, screen: Tensor, planes: Tensor, facing: Tensor, wants: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of vertices, projection, texture and background, as wanted, from those of the image."""
    saved, mesh = Saved(points, found, screen, planes, facing), _mesh(vertices, triangles, uv, uv_triangles)
    inputs = backward.draw_backward(
        gradient, projection, texture, mesh, near, with_boundaries, image, saved, tuple(wants[:3])
    )
    behind = backward.background_backward(gradient, saved, len(background) != len(vertices)) if wants[3] else None
    return _all((*inputs, behind), vertices)


@draw_backward.register_fake
def _(gradient, vertices, projection, texture, background, triangles, uv, uv_triangles, near, with_boundaries, image,
      points, found, screen, planes, facing, wants):  # fmt: skip
    return _like((vertices, projection, texture, background), wants)


def _save_drawn(ctx, inputs, output):
    *tensors, _, _, ctx.near, ctx.with_boundaries = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output)


def _draw_backward(ctx, gradient, *_):
    if gradient is None:
        return (None,) * 11
    tensors, output = ctx.saved_tensors[:7], ctx.saved_tensors[7:]
    wants = list(ctx.needs_input_grad[:4])
    return _wanted(draw_backward(gradient, *tensors, ctx.near, ctx.with_boundaries, *output, wants), wants, 7)


draw.register_autograd(_draw_backward, setup_context=_save_drawn)


@_operator
def coverage(
    vertices: Tensor, projection: Tensor, triangles: Tensor, uv: Tensor, uv_triangles: Tensor, points: Tensor,
    found: Tensor, screen: Tensor, planes: Tensor, facing: Tensor, near: float,
) -> Tensor:  # fmt: skip
    """1 where `draw` found a triangle, else 0: (B, H, W)."""
    return (found >= 0).to(vertices.dtype)


@coverage.register_fake
def _(vertices, projection, triangles, uv, uv_triangles, points, found, screen, planes, facing, near):
    return vertices.new_empty(found.shape)


@_operator
def coverage_backward(
    gradient: Tensor, vertices: Tensor, projection: Tensor, triangles: Tensor, uv: Tensor, uv_triangles: Tensor,
    points: Tensor, found: Tensor, screen: Tensor, planes: Tensor, facing: Tensor, near: float, wants: list[bool],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of vertices and projection, as wanted, from those of the coverage."""
    saved, mesh = Saved(points, found, screen, planes, facing), _mesh(vertices, triangles, uv, uv_triangles)
    return _all(backward.coverage_backward(gradient, projection, mesh, near, saved, tuple(wants)), vertices)


@coverage_backward.register_fake
def _(gradient, vertices, projection, triangles, uv, uv_triangles, points, found, screen, planes, facing, near, wants):
    return _like((vertices, projection), wants)


def _save(ctx, inputs, output):
    *tensors, ctx.near = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _coverage_backward(ctx, gradient):
    if gradient is None:
        return (None,) * 11
    wants = list(ctx.needs_input_grad[:2])
    return _wanted(coverage_backward(gradient, *ctx.saved_tensors, ctx.near, wants), wants, 9)


coverage.register_autograd(_coverage_backward, setup_context=_save)


@_operator
def attributes(
    vertices: Tensor, projection: Tensor, triangles: Tensor, uv: Tensor, uv_triangles: Tensor, points: Tensor,
    found: Tensor, screen: Tensor, planes: Tensor, facing: Tensor, near: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Depth (B, H, W) and corner weights (B, 3, H, W) where `draw` found triangles, else 0."""
    saved, mesh = Saved(points, found, screen, planes, facing), _mesh(vertices, triangles, uv, uv_triangles)
    return forward.draw_attributes(saved, projection, mesh, near)


@attributes.register_fake
def _(vertices, projection, triangles, uv, uv_triangles, points, found, screen, planes, facing, near):
    batch, height, width = found.shape
    return vertices.new_empty((batch, height, width)), vertices.new_empty((batch, 3, height, width))


@_operator
def attributes_backward(
    depth_gradient: Tensor | None, barycentric_gradient: Tensor | None, vertices: Tensor, projection: Tensor,
    triangles: Tensor, uv: Tensor, uv_triangles: Tensor, points: Tensor, found: Tensor, screen: Tensor, planes: Tensor,
    facing: Tensor, near: float, wants: list[bool],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of vertices and projection, as wanted, from those of depth and corner weights."""
    saved, mesh = Saved(points, found, screen, planes, facing), _mesh(vertices, triangles, uv, uv_triangles)
    gradients = backward.attributes_backward(
        depth_gradient, barycentric_gradient, projection, mesh, near, saved, tuple(wants)
    )
    return _all(gradients, vertices)


@attributes_backward.register_fake
def _(depth_gradient, barycentric_gradient, vertices, projection, triangles, uv, uv_triangles, points, found, screen,
      planes, facing, near, wants):  # fmt: skip
    return _like((vertices, projection), wants)


def _attributes_backward(ctx, depth_gradient, barycentric_gradient):
    wants = list(ctx.needs_input_grad[:2])
    gradients = attributes_backward(depth_gradient, barycentric_gradient, *ctx.saved_tensors, ctx.near, wants)
    return _wanted(gradients, wants, 9)


attributes.register_autograd(_attributes_backward, setup_context=_save)
