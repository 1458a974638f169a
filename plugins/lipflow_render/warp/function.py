"""The autograd functions of renderer `warp`: which kernel runs on what."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lipflow_render.warp import backward, geometry, raster, silhouettes
from lipflow_render.warp.build import lanes, launch
from lipflow_render.warp.whole_numbers import WholeNumbers

_CORNERS = (3, 3)


def draw(vertices, projection, texture, background, prepared, size, near, edges) -> tuple[Tensor, ...]:
    """Draw B pictures.

    Args:
        vertices: (B, V, 3).
        projection: (B or 1, 3, 4) float64.
        texture: (B or 1, C, Ht, Wt).
        background: (B or 1, C, H, W), or None.
        prepared: PreparedTopology.
        size: Rows and columns of the picture.
        near: Depth of the near plane.
        edges: Whether gradients include the motion of silhouettes.

    Returns:
        image (B, C, H, W), coverage (B, H, W), and what `draw_attributes` wants: found (B, H, W) int32, screen
        (B, V, 4), bounds (B, F, 4) int32 and visible (B, F) int32.
    """
    return _Draw.apply(vertices, projection, texture, background, prepared, size, near, edges)


def draw_attributes(vertices, projection, found, screen, bounds, visible, prepared, near) -> tuple[Tensor, Tensor]:
    """Depth (B, H, W) and corner weights (B, 3, H, W) where triangles were found."""
    return _Attributes.apply(vertices, projection, found, screen, bounds, visible, prepared, near)


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vertices, projection, texture, background, prepared, size, near, edges):
        ctx.set_materialize_grads(False)
        vertices, projection, texture = vertices.contiguous(), projection.contiguous(), texture.contiguous()
        dtype, device = vertices.dtype, vertices.device
        batch, count, triangles = vertices.shape[0], vertices.shape[1], len(prepared.triangles)
        height, width = size
        image = vertices.new_empty((batch, texture.shape[1], height, width))
        coverage = vertices.new_empty((batch, height, width))
        screen = vertices.new_empty((batch, count, 4))
        planes = vertices.new_empty((batch, triangles, geometry.PLANE))
        found = torch.empty((batch, height, width), dtype=torch.int32, device=device)
        bounds = torch.empty((batch, triangles, 4), dtype=torch.int32, device=device)
        visible = torch.zeros((batch, triangles), dtype=torch.int32, device=device)
        keys = torch.zeros((batch, height, width), dtype=torch.int64, device=device)

        def run(kernel, threads, *given):
            launch(kernel, dtype, device, threads, *given)

        across, down = lanes(device)
        texels, seen = (texture.shape[3], texture.shape[2]), (vertices, projection, near, screen)
        run(geometry.transform, (batch, count), *seen)
        run(
            geometry.set_up, (batch, triangles),
            *seen, prepared.triangles, prepared.corners, texels, (width, height), planes, bounds,
        )  # fmt: skip
        run(
            raster.rasterise, (batch, triangles, across * down),
            *seen, prepared.triangles, planes, bounds, (across, down), keys,
        )  # fmt: skip
        behind = None if background is None else background.contiguous()
        run(
            raster.shade, (batch, height, width), planes, texture, behind, keys, image, coverage, found, visible
        )  # fmt: skip
        ctx.mark_non_differentiable(found, screen, bounds, visible)
        ctx.save_for_backward(vertices, projection, texture, image, found, screen, planes, bounds, visible)
        ctx.prepared, ctx.near, ctx.edges = prepared, near, edges
        ctx.background_batch = 0 if background is None else len(background)
        return image, coverage, found, screen, bounds, visible

    @staticmethod
    @once_differentiable
    def backward(ctx, image_gradient, coverage_gradient, *_):
        vertices, projection, texture, image, found, screen, planes, bounds, visible = ctx.saved_tensors
        wants_vertices, wants_camera, wants_texture, wants_background = ctx.needs_input_grad[:4]
        wants_geometry = wants_vertices or wants_camera
        dtype, device = vertices.dtype, vertices.device
        batch, channels, height, width = image.shape
        prepared, near = ctx.prepared, ctx.near
        if image_gradient is None:
            image_gradient = torch.zeros_like(image)
        image_gradient = image_gradient.contiguous()
        coverage_gradient = None if coverage_gradient is None else coverage_gradient.contiguous()
        whole = WholeNumbers.wanted(device)

        def run(kernel, threads, *given):
            launch(kernel, dtype, device, threads, *given)

        slopes = image.new_empty((batch, 3, height, width)) if wants_geometry else None
        background_gradient = torch.empty_like(image) if wants_background else None
        texture_sum = WholeNumbers.zeros(texture.shape, dtype, device) if wants_texture else None
        if texture_sum and whole:
            # A texel is added to by at most four shares of each pixel, none greater than the pixel's gradient.
            texture_sum.measure(image_gradient.abs().amax(), 4 * batch * height * width)
        run(
            backward.unshade, (batch, height, width), planes, texture, found, image_gradient, slopes,
            *(texture_sum.arrays if texture_sum else (None, None, None)), background_gradient,
        )  # fmt: skip
        vertices_gradient = camera_gradient = None
        if wants_geometry:
            seen = (vertices, projection, near, screen)
            corners = vertices.new_empty((batch, len(prepared.triangles), *_CORNERS), dtype=torch.float64)
            run(
                backward.to_corners, (batch, len(prepared.triangles)),
                *seen, prepared.triangles, planes, bounds, lanes(device), visible, found, slopes, corners,
            )  # fmt: skip
            screen_sum = None
            if ctx.edges:
                screen_sum = WholeNumbers.zeros((batch, vertices.shape[1], 2), torch.float64, device)
                if whole:
                    jump = channels * image_gradient.abs().amax() * (image.amax() - image.amin())
                    if coverage_gradient is not None:
                        jump = jump + coverage_gradient.abs().amax()
                    screen_sum.measure(jump, 4 * height * width)
                unit, units, plain = screen_sum.arrays
                run(
                    silhouettes.edges, (batch, height, width),
                    near, screen, prepared.triangles, prepared.adjacent, prepared.sheet, planes, image, found,
                    image_gradient, coverage_gradient, unit, units, plain,
                )  # fmt: skip
            screen_gradient = None if screen_sum is None else screen_sum.total()
            vertices_gradient, camera_gradient = _to_inputs(run, ctx, seen, prepared, visible, corners, screen_gradient)
        texture_gradient = texture_sum.total() if texture_sum else None
        if wants_background and ctx.background_batch != batch:
            background_gradient = background_gradient.sum(0, keepdim=True)
        return vertices_gradient, camera_gradient, texture_gradient, background_gradient, None, None, None, None


class _Attributes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vertices, projection, found, screen, bounds, visible, prepared, near):
        ctx.set_materialize_grads(False)
        vertices, projection = vertices.contiguous(), projection.contiguous()
        batch, height, width = found.shape
        depth = vertices.new_empty((batch, height, width))
        barycentric = vertices.new_empty((batch, 3, height, width))
        launch(
            raster.attributes, vertices.dtype, vertices.device, (batch, height, width),
            vertices, projection, prepared.triangles, found, depth, barycentric,
        )  # fmt: skip
        ctx.save_for_backward(vertices, projection, found, screen, bounds, visible)
        ctx.prepared, ctx.near = prepared, near
        return depth, barycentric

    @staticmethod
    @once_differentiable
    def backward(ctx, depth_gradient, barycentric_gradient):
        vertices, projection, found, screen, bounds, visible = ctx.saved_tensors
        dtype, device, prepared = vertices.dtype, vertices.device, ctx.prepared
        depth_gradient = None if depth_gradient is None else depth_gradient.contiguous()
        barycentric_gradient = None if barycentric_gradient is None else barycentric_gradient.contiguous()

        def run(kernel, threads, *given):
            launch(kernel, dtype, device, threads, *given)

        seen = (vertices, projection, ctx.near, screen)
        corners = vertices.new_empty((len(vertices), len(prepared.triangles), *_CORNERS), dtype=torch.float64)
        run(
            backward.attributes_to_corners, (len(vertices), len(prepared.triangles)),
            *seen, prepared.triangles, bounds, lanes(device), visible, found, depth_gradient, barycentric_gradient,
            corners,
        )  # fmt: skip
        return *_to_inputs(run, ctx, seen, prepared, visible, corners, None), None, None, None, None, None, None


def _to_inputs(run, ctx, seen, prepared, visible, corners, screen_gradient) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of vertices and projection from those of corners and of pixel coordinates."""
    vertices, projection, _, _ = seen
    batch, count, _ = vertices.shape
    seen_gradient = vertices.new_empty((batch, count, 3), dtype=torch.float64)
    vertices_gradient = torch.empty_like(vertices) if ctx.needs_input_grad[0] else None
    run(
        geometry.collect, (batch, count),
        *seen, prepared.starts, prepared.members, visible, corners, screen_gradient, seen_gradient, vertices_gradient,
    )  # fmt: skip
    if not ctx.needs_input_grad[1]:
        return vertices_gradient, None
    camera_gradient = projection.new_empty((batch, 3, 4))
    run(geometry.to_camera, (batch,), vertices, seen_gradient, camera_gradient)
    if len(projection) != batch:
        camera_gradient = camera_gradient.sum(0, keepdim=True)
    return vertices_gradient, camera_gradient
