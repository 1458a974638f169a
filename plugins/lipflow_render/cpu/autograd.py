"""Defines the autograd functions that renderer `cpu` calls outside of `torch.compile`; they take what operators take.

Calling a registered operator takes half as long as drawing a small picture; only compiled graphs need that.
"""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from lipflow_render.cpu import backward, forward
from lipflow_render.cpu.batch import Saved


class Draw(torch.autograd.Function):
    """(vertices, projection, texture, background, topology, uv, size, near, with_boundaries) → image, *Saved.

    Arguments and results are as in `forward.draw` and `backward.draw_backward`; only the image carries gradients.
    """

    @staticmethod
    def forward(ctx, vertices, projection, texture, background, topology, uv, size, near, with_boundaries):
        image, saved = forward.draw(vertices, projection, texture, background, topology, uv, size, near)
        ctx.mark_non_differentiable(*saved)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(projection, texture, image, *saved)
        ctx.topology, ctx.near, ctx.with_boundaries = topology, near, with_boundaries
        ctx.background_shared = background is not None and len(background) != len(vertices)
        return image, *saved

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, *_):
        if gradient is None:
            return (None,) * 9
        projection, texture, image, *saved = ctx.saved_tensors
        saved, wants = Saved(*saved), ctx.needs_input_grad
        inputs = backward.draw_backward(
            gradient, projection, texture, ctx.topology, ctx.near, ctx.with_boundaries, image, saved, wants[:3]
        )
        background = backward.background_backward(gradient, saved, ctx.background_shared) if wants[3] else None
        return *inputs, background, *[None] * 5


class Coverage(torch.autograd.Function):
    """(vertices, projection, topology, near, *Saved) → coverage (B, H, W)."""

    @staticmethod
    def forward(ctx, vertices, projection, topology, near, *saved):
        ctx.save_for_backward(projection, *saved)
        ctx.topology, ctx.near = topology, near
        return (Saved(*saved).found >= 0).to(vertices.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        projection, *saved = ctx.saved_tensors
        inputs = backward.coverage_backward(
            gradient, projection, ctx.topology, ctx.near, Saved(*saved), ctx.needs_input_grad[:2]
        )
        return *inputs, *[None] * (2 + len(saved))


class Attributes(torch.autograd.Function):
    """(vertices, projection, topology, near, *Saved) → depth (B, H, W), corner weights (B, 3, H, W)."""

    @staticmethod
    def forward(ctx, vertices, projection, topology, near, *saved):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(projection, *saved)
        ctx.topology, ctx.near = topology, near
        return forward.draw_attributes(Saved(*saved), projection, topology, near)

    @staticmethod
    @once_differentiable
    def backward(ctx, depth_gradient, barycentric_gradient):
        projection, *saved = ctx.saved_tensors
        inputs = backward.attributes_backward(
            depth_gradient, barycentric_gradient, projection, ctx.topology, ctx.near, Saved(*saved),
            ctx.needs_input_grad[:2],
        )  # fmt: skip
        return *inputs, *[None] * (2 + len(saved))
