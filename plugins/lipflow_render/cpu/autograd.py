"""What renderer `cpu` calls outside of graphs: plain autograd functions, with the arguments that `operators` take."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from lipflow_render.cpu import launch
from lipflow_render.cpu.drawn import Drawn
from lipflow_render.cpu.notice import compiling
from lipflow_render.cpu.prepared import fitting, prepare


def draw(vertices, projection, texture, background, triangles, uv, uv_triangles, height, width, near, edges):
    """As `operators.draw`."""
    prepared = fitting(vertices, triangles, uv, uv_triangles)
    return _Draw.apply(vertices, projection, texture, background, prepared, (height, width), near, edges)


def coverage(vertices, projection, triangles, uv, uv_triangles, found, screen, planes, facing, near):
    """As `operators.coverage`."""
    prepared = prepare(triangles, uv, uv_triangles)
    return _Coverage.apply(vertices, projection, prepared, near, found, screen, planes, facing)


def attributes(vertices, projection, triangles, uv, uv_triangles, found, near):
    """As `operators.attributes`."""
    return _Attributes.apply(vertices, projection, found, prepare(triangles, uv, uv_triangles), near)


class _Draw(torch.autograd.Function):
    """(vertices, projection, texture, background, prepared, size, near, edges) → image and what `Drawn` holds.

    Arguments and results as in `launch.draw`; only the image carries gradients.
    """

    @staticmethod
    def forward(ctx, vertices, projection, texture, background, prepared, size, near, edges):
        with compiling((vertices.dtype, texture.shape[1], "draw")):
            image, drawn = launch.draw(vertices, projection, texture, background, prepared, size, near)
        ctx.mark_non_differentiable(*drawn)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vertices, projection, texture, image, *drawn)
        ctx.prepared, ctx.near, ctx.edges = prepared, near, edges
        ctx.background_shared = background is not None and len(background) != len(vertices)
        return image, *drawn

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, *_):
        if gradient is None:
            return (None,) * 8
        vertices, projection, texture, image, *drawn = ctx.saved_tensors
        drawn, wants = Drawn(*drawn), ctx.needs_input_grad
        with compiling((vertices.dtype, texture.shape[1], "undraw")):
            inputs = launch.undraw(
                gradient, vertices, projection, texture, ctx.prepared, ctx.near, ctx.edges, image, drawn, wants[:3]
            )
        background = launch.undraw_background(gradient, drawn, ctx.background_shared) if wants[3] else None
        return (*inputs, background, None, None, None, None)


class _Coverage(torch.autograd.Function):
    """(vertices, projection, prepared, near, drawn …) → coverage (B, H, W)."""

    @staticmethod
    def forward(ctx, vertices, projection, prepared, near, *drawn):
        ctx.save_for_backward(vertices, projection, *drawn)
        ctx.prepared, ctx.near = prepared, near
        return (Drawn(*drawn).found >= 0).to(vertices.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        vertices, projection, *drawn = ctx.saved_tensors
        with compiling((vertices.dtype, "coverage")):
            inputs = launch.undraw_coverage(
                gradient, vertices, projection, ctx.prepared, ctx.near, Drawn(*drawn), ctx.needs_input_grad[:2]
            )
        return (*inputs, *[None] * (2 + len(drawn)))


class _Attributes(torch.autograd.Function):
    """(vertices, projection, found, prepared, near) → depth (B, H, W), corner weights (B, 3, H, W)."""

    @staticmethod
    def forward(ctx, vertices, projection, found, prepared, near):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vertices, projection, found)
        ctx.prepared, ctx.near = prepared, near
        with compiling((vertices.dtype, "attributes")):
            return launch.draw_attributes(vertices, projection, found, prepared)

    @staticmethod
    @once_differentiable
    def backward(ctx, depth_gradient, barycentric_gradient):
        vertices, projection, found = ctx.saved_tensors
        with compiling((vertices.dtype, "attributes backward")):
            inputs = launch.undraw_attributes(
                depth_gradient, barycentric_gradient, vertices, projection, found, ctx.prepared, ctx.near,
                ctx.needs_input_grad[:2],
            )  # fmt: skip
        return (*inputs, None, None, None)
