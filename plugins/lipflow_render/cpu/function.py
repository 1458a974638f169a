"""What renderer `cpu` calls outside of graphs: plain autograd functions, with the arguments that `operators` take."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from lipflow_render.cpu import launch
from lipflow_render.cpu.notice import compiling
from lipflow_render.cpu.prepared import fitting, prepare


def draw(vertices, projection, texture, background, triangles, uv, uv_triangles, height, width, near, edges):
    """As `operators.draw`."""
    prepared = fitting(vertices, triangles, uv, uv_triangles)
    return _Draw.apply(vertices, projection, texture, background, prepared, (height, width), near, edges)


def coverage(vertices, projection, triangles, uv, uv_triangles, found, screen, planes, near):
    """As `operators.coverage`."""
    prepared = prepare(triangles, uv, uv_triangles)
    return _Coverage.apply(vertices, projection, found, screen, planes, prepared, near)


def attributes(vertices, projection, triangles, uv, uv_triangles, found, near):
    """As `operators.attributes`."""
    return _Attributes.apply(vertices, projection, found, prepare(triangles, uv, uv_triangles), near)


class _Draw(torch.autograd.Function):
    """(vertices, projection, texture, background, prepared, size, near, edges) → image, found, screen, planes.

    Arguments and results as in `launch.draw`; only the image carries gradients.
    """

    @staticmethod
    def forward(ctx, vertices, projection, texture, background, prepared, size, near, edges):
        with compiling((vertices.dtype, texture.shape[1], "draw")):
            image, found, screen, planes = launch.draw(vertices, projection, texture, background, prepared, size, near)
        ctx.mark_non_differentiable(found, screen, planes)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vertices, projection, texture, image, found, screen, planes)
        ctx.prepared, ctx.near, ctx.edges = prepared, near, edges
        ctx.background_shared = background is not None and len(background) != len(vertices)
        return image, found, screen, planes

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, *_):
        if gradient is None:
            return (None,) * 8
        vertices, projection, texture, *drawn = ctx.saved_tensors
        with compiling((vertices.dtype, texture.shape[1], "undraw")):
            *inputs, background = launch.undraw(
                gradient, vertices, projection, texture, ctx.prepared, ctx.near, ctx.edges, *drawn,
                ctx.needs_input_grad[:4],
            )  # fmt: skip
        if background is not None and ctx.background_shared:
            background = background.sum(0, keepdim=True)
        return (*inputs, background, None, None, None, None)


class _Coverage(torch.autograd.Function):
    """(vertices, projection, found, screen, planes, prepared, near) → coverage (B, H, W)."""

    @staticmethod
    def forward(ctx, vertices, projection, found, screen, planes, prepared, near):
        ctx.save_for_backward(vertices, projection, found, screen, planes)
        ctx.prepared, ctx.near = prepared, near
        return (found >= 0).to(vertices.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        vertices, projection, *drawn = ctx.saved_tensors
        with compiling((vertices.dtype, "coverage")):
            inputs = launch.undraw_coverage(
                gradient, vertices, projection, ctx.prepared, ctx.near, *drawn, ctx.needs_input_grad[:2]
            )
        return (*inputs, None, None, None, None, None)


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
