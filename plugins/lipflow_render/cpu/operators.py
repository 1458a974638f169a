"""The operators of renderer `cpu`, registered with `torch.library`: what graphs of `torch.compile` call.

Topologies come as their tensors, and are prepared within. Operators return empty tensors for gradients that nobody
wants, and gradients of projections and backgrounds in the shape of these.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_render.cpu import launch
from lipflow_render.cpu.drawn import Drawn
from lipflow_render.cpu.notice import compiling
from lipflow_render.cpu.prepared import fitting, prepare


def operator(function):
    """Register a function that changes none of its arguments as an operator of the renderer."""
    return torch.library.custom_op(f"lipflow_render::cpu_{function.__name__}", mutates_args=())(function)


def _all(gradients: tuple[Tensor | None, ...], like: Tensor) -> tuple[Tensor, ...]:
    return tuple(like.new_empty(0) if gradient is None else gradient for gradient in gradients)


def _wanted(gradients: tuple[Tensor, ...], wants: list[bool], others: int) -> tuple[Tensor | None, ...]:
    """What autograd is told: None for what is not wanted and for the other arguments."""
    return *(g if wanted else None for g, wanted in zip(gradients, wants, strict=True)), *[None] * others


def _like(inputs: tuple[Tensor | None, ...], wants: list[bool]) -> tuple[Tensor, ...]:
    """Gradients as the operators return them, not written yet."""
    return tuple(
        torch.empty_like(given, memory_format=torch.contiguous_format) if wanted else inputs[0].new_empty(0)
        for given, wanted in zip(inputs, wants, strict=True)
    )


@operator
def draw(
    vertices: Tensor, projection: Tensor, texture: Tensor, background: Tensor | None, triangles: Tensor, uv: Tensor,
    uv_triangles: Tensor, height: int, width: int, near: float, edges: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Draw B pictures.

    Args:
        vertices: (B, V, 3), float32 or float64, as texture and background.
        projection: (B or 1, 3, 4) float64.
        texture: (B or 1, C, Ht, Wt), Wt > 1.
        background: (B or 1, C, H, W), or None.
        triangles, uv, uv_triangles: The topology.
        height, width: Size of the picture.
        near: Depth of the near plane.
        edges: Whether gradients include the motion of silhouettes.

    Returns:
        image (B, C, H, W); and for the other operators what `drawn.Drawn` holds.
    """
    prepared = fitting(vertices, triangles, uv, uv_triangles)
    with compiling((vertices.dtype, texture.shape[1], "draw")):
        image, drawn = launch.draw(vertices, projection, texture, background, prepared, (height, width), near)
    return image, *drawn


@draw.register_fake
def _(vertices, projection, texture, background, triangles, uv, uv_triangles, height, width, near, edges):
    image = vertices.new_empty((vertices.shape[0], texture.shape[1], height, width))
    drawn = Drawn.empty(
        lambda shape, dtype: vertices.new_empty(shape, dtype=dtype), vertices, len(triangles), height, width
    )
    return image, *drawn


@operator
def undraw(
    gradient: Tensor, vertices: Tensor, projection: Tensor, texture: Tensor, background: Tensor | None,
    triangles: Tensor, uv: Tensor, uv_triangles: Tensor, near: float, edges: bool, image: Tensor, found: Tensor,
    screen: Tensor, planes: Tensor, facing: Tensor, wants: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of vertices, projection, texture and background, as wanted, from those of the image."""
    drawn = Drawn(found, screen, planes, facing)
    with compiling((vertices.dtype, texture.shape[1], "undraw")):
        inputs = launch.undraw(
            gradient, vertices, projection, texture, prepare(triangles, uv, uv_triangles), near, edges, image, drawn,
            tuple(wants[:3]),
        )  # fmt: skip
    behind = launch.undraw_background(gradient, drawn, len(background) != len(vertices)) if wants[3] else None
    return _all((*inputs, behind), vertices)


@undraw.register_fake
def _(gradient, vertices, projection, texture, background, triangles, uv, uv_triangles, near, edges, image, found,
      screen, planes, facing, wants):  # fmt: skip
    return _like((vertices, projection, texture, background), wants)


def _keep_drawn(ctx, inputs, output):
    *tensors, _, _, ctx.near, ctx.edges = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output)


def _undraw(ctx, gradient, *_):
    if gradient is None:
        return (None,) * 11
    tensors, kept = ctx.saved_tensors[:7], ctx.saved_tensors[7:]
    wants = list(ctx.needs_input_grad[:4])
    return _wanted(undraw(gradient, *tensors, ctx.near, ctx.edges, *kept, wants), wants, 7)


draw.register_autograd(_undraw, setup_context=_keep_drawn)


@operator
def coverage(
    vertices: Tensor, projection: Tensor, triangles: Tensor, uv: Tensor, uv_triangles: Tensor, found: Tensor,
    screen: Tensor, planes: Tensor, facing: Tensor, near: float,
) -> Tensor:  # fmt: skip
    """1 where `draw` found a triangle, else 0: (B, H, W)."""
    return (found >= 0).to(vertices.dtype)


@coverage.register_fake
def _(vertices, projection, triangles, uv, uv_triangles, found, screen, planes, facing, near):
    return vertices.new_empty(found.shape)


@operator
def undraw_coverage(
    gradient: Tensor, vertices: Tensor, projection: Tensor, triangles: Tensor, uv: Tensor, uv_triangles: Tensor,
    found: Tensor, screen: Tensor, planes: Tensor, facing: Tensor, near: float, wants: list[bool],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of vertices and projection, as wanted, from those of the coverage."""
    drawn = Drawn(found, screen, planes, facing)
    with compiling((vertices.dtype, "coverage")):
        gradients = launch.undraw_coverage(
            gradient, vertices, projection, prepare(triangles, uv, uv_triangles), near, drawn, tuple(wants)
        )
    return _all(gradients, vertices)


@undraw_coverage.register_fake
def _(gradient, vertices, projection, triangles, uv, uv_triangles, found, screen, planes, facing, near, wants):
    return _like((vertices, projection), wants)


def _keep(ctx, inputs, output):
    *tensors, ctx.near = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _undraw_coverage(ctx, gradient):
    if gradient is None:
        return (None,) * 10
    wants = list(ctx.needs_input_grad[:2])
    return _wanted(undraw_coverage(gradient, *ctx.saved_tensors, ctx.near, wants), wants, 8)


coverage.register_autograd(_undraw_coverage, setup_context=_keep)


@operator
def attributes(
    vertices: Tensor, projection: Tensor, triangles: Tensor, uv: Tensor, uv_triangles: Tensor, found: Tensor,
    near: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Depth (B, H, W) and corner weights (B, 3, H, W) where `draw` found triangles, else 0."""
    with compiling((vertices.dtype, "attributes")):
        return launch.draw_attributes(vertices, projection, found, prepare(triangles, uv, uv_triangles))


@attributes.register_fake
def _(vertices, projection, triangles, uv, uv_triangles, found, near):
    batch, height, width = found.shape
    return vertices.new_empty((batch, height, width)), vertices.new_empty((batch, 3, height, width))


@operator
def undraw_attributes(
    depth_gradient: Tensor | None, barycentric_gradient: Tensor | None, vertices: Tensor, projection: Tensor,
    triangles: Tensor, uv: Tensor, uv_triangles: Tensor, found: Tensor, near: float, wants: list[bool],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of vertices and projection, as wanted, from those of depth and corner weights."""
    with compiling((vertices.dtype, "undraw_attributes")):
        gradients = launch.undraw_attributes(
            depth_gradient, barycentric_gradient, vertices, projection, found, prepare(triangles, uv, uv_triangles),
            near, wants,
        )  # fmt: skip
    return _all(gradients, vertices)


@undraw_attributes.register_fake
def _(depth_gradient, barycentric_gradient, vertices, projection, triangles, uv, uv_triangles, found, near, wants):
    return _like((vertices, projection), wants)


def _undraw_attributes(ctx, depth_gradient, barycentric_gradient):
    wants = list(ctx.needs_input_grad[:2])
    gradients = undraw_attributes(depth_gradient, barycentric_gradient, *ctx.saved_tensors, ctx.near, wants)
    return _wanted(gradients, wants, 5)


attributes.register_autograd(_undraw_attributes, setup_context=_keep)
