"""The operators of renderer `warp`, registered with `torch.library`: which kernel runs on what.

torch allocates all memory, on its current stream. Warp neither allocates nor waits, so everything here can be captured
in a CUDA graph. Operators return empty tensors for gradients that are not wanted.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_render.topology import finite_uv
from lipflow_render.warp import warp_backward, warp_geometry, warp_raster, warp_silhouettes
from lipflow_render.warp.build import lanes, launch
from lipflow_render.warp.fixed_point import FixedPointSum
from lipflow_render.warp.warp_topology import WarpTopology, warp_topology


@torch.library.custom_op("lipflow_render::warp_draw", mutates_args=())
def draw(
    vertices: Tensor, projection: Tensor, texture: Tensor, background: Tensor | None, triangles: Tensor, uv: Tensor,
    uv_triangles: Tensor, height: int, width: int, near: float, edges: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Draw B pictures.

    Args:
        vertices: (B, V, 3).
        projection: (B or 1, 3, 4) float64.
        texture: (B or 1, C, Ht, Wt).
        background: (B or 1, C, H, W), or None.
        triangles, uv, uv_triangles: The topology, see `Topology`.
        height, width: Rows and columns of the picture.
        near: Depth of the near plane in millimetres.
        edges: Whether gradients include the motion of silhouettes and self-occlusions.

    Returns:
        image (B, C, H, W) and coverage (B, H, W); and for the other operators found (B, H, W) int32, screen (B, V, 4),
        planes (B, F, 12), bounds (B, F, 4) int32 and visible (B, F) int32.
    """
    mesh = warp_topology(triangles, uv, uv_triangles, vertices)
    vertices, projection, texture = vertices.contiguous(), projection.contiguous(), texture.contiguous()
    behind = None if background is None else background.contiguous()
    drawn = _new(vertices, texture, triangles, height, width)
    image, coverage, found, screen, planes, bounds, visible = drawn
    visible.zero_()
    keys = torch.zeros_like(found, dtype=torch.int64)
    (batch, count), (across, down) = screen.shape[:2], lanes(vertices.device)
    rows, seen = _rows(found), (vertices, projection, near, screen)

    def run(kernel, threads, *given):
        launch(kernel, vertices.dtype, vertices.device, threads, *given)

    texels, size = (texture.shape[3], texture.shape[2]), (width, height)
    run(warp_geometry.transform, (batch, count), *seen)
    atlas = finite_uv(uv, vertices.device).double(), mesh.uv_triangles
    run(warp_geometry.set_up, bounds.shape[:2], *seen, mesh.triangles, *atlas, texels, size, planes, bounds)
    threads = (*bounds.shape[:2], across * down)
    run(warp_raster.rasterise, threads, *seen, mesh.triangles, planes, bounds, (across, down), keys)
    run(warp_raster.shade, rows, planes, texture, behind, keys, rows[2], image, coverage, found, visible)
    return drawn


@draw.register_fake
def _(vertices, projection, texture, background, triangles, uv, uv_triangles, height, width, near, edges):
    return _new(vertices, texture, triangles, height, width)


@torch.library.custom_op("lipflow_render::warp_draw_backward", mutates_args=())
def draw_backward(
    vertices: Tensor, projection: Tensor, texture: Tensor, triangles: Tensor, uv: Tensor, uv_triangles: Tensor,
    image: Tensor, found: Tensor, screen: Tensor, planes: Tensor, bounds: Tensor, visible: Tensor,
    image_gradient: Tensor, coverage_gradient: Tensor | None, near: float, edges: bool, wants: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Carry gradients of pictures and coverage back.

    Args:
        vertices, projection, texture, triangles, uv, uv_triangles, near, edges: What `draw` was given.
        image, found, screen, planes, bounds, visible: What it returned.
        image_gradient: (B, C, H, W).
        coverage_gradient: (B, H, W), or None.
        wants: Whether gradients of vertices, projection, texture and background are wanted.

    Returns:
        Those gradients, for each sample even where samples share a camera or background; empty where not wanted.
    """
    mesh = warp_topology(triangles, uv, uv_triangles, vertices)
    vertices, projection, texture = vertices.contiguous(), projection.contiguous(), texture.contiguous()
    image_gradient = image_gradient.contiguous()
    coverage_gradient = None if coverage_gradient is None else coverage_gradient.contiguous()
    wants_geometry, wants_texture, wants_background = wants[0] or wants[1], wants[2], wants[3]
    device, (batch, channels, height, width) = vertices.device, image.shape
    whole, rows, seen = FixedPointSum.wanted(device), _rows(found), (vertices, projection, near, screen)

    def run(kernel, threads, *given):
        launch(kernel, vertices.dtype, device, threads, *given)

    slopes = image.new_empty((batch, 3, height, width)) if wants_geometry else None
    background_gradient = torch.empty_like(image) if wants_background else None
    texture_sum = FixedPointSum(torch.zeros_like(texture)) if wants_texture else None
    if texture_sum and whole:
        # A texel gets at most four shares of each pixel, none greater than the pixel's gradient.
        texture_sum.measure(_greatest(image_gradient), 4 * batch * height * width)
    arrays = texture_sum.arrays if texture_sum else (None, None, None)
    run(
        warp_backward.unshade, rows,
        planes, texture, found, image_gradient, rows[2], slopes, *arrays, background_gradient,
    )  # fmt: skip
    vertices_gradient = camera_gradient = None
    if wants_geometry:
        corners = vertices.new_empty((*bounds.shape[:2], 3, 3), dtype=torch.float64)
        run(
            warp_backward.to_corners, bounds.shape[:2],
            *seen, mesh.triangles, planes, bounds, lanes(device), visible, found, slopes, corners,
        )  # fmt: skip
        screen_gradient = None
        if edges:
            screen_sum = FixedPointSum(vertices.new_zeros((batch, vertices.shape[1], 2), dtype=torch.float64))
            if whole:
                # Boundaries between values that are not finite pass no gradient, so they must not count here.
                jump = 2 * channels * _greatest(_finite(image_gradient)) * _greatest(_finite(image))
                if coverage_gradient is not None:
                    jump = jump + _greatest(_finite(coverage_gradient))
                screen_sum.measure(jump, 4 * height * width)
            run(
                warp_silhouettes.edges, rows,
                near, screen, mesh.triangles, mesh.adjacent, mesh.sheet, planes, image, found, image_gradient,
                coverage_gradient, rows[2], *screen_sum.arrays,
            )  # fmt: skip
            screen_gradient = screen_sum.total()
        vertices_gradient, camera_gradient = _to_inputs(run, seen, mesh, visible, corners, screen_gradient, wants)
    gradients = (vertices_gradient, camera_gradient, texture_sum and texture_sum.total(), background_gradient)
    return tuple(image.new_empty(0) if gradient is None else gradient for gradient in gradients)


@draw_backward.register_fake
def _(vertices, projection, texture, triangles, uv, uv_triangles, image, found, screen, planes, bounds, visible,
      image_gradient, coverage_gradient, near, edges, wants):  # fmt: skip
    made = (
        torch.empty_like(vertices),
        projection.new_empty((len(vertices), 3, 4)),
        torch.empty_like(texture),
        torch.empty_like(image),
    )
    return tuple(like if wanted else image.new_empty(0) for like, wanted in zip(made, wants, strict=True))


def _save_drawn(ctx, inputs, output):
    vertices, projection, texture, background, triangles, uv, uv_triangles, _, _, ctx.near, ctx.edges = inputs
    image, _, *drawn = output
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(vertices, projection, texture, triangles, uv, uv_triangles, image, *drawn)
    ctx.shared_background = background is not None and len(background) != len(image)


def _draw_backward(ctx, image_gradient, coverage_gradient, *_):
    vertices, projection, *_, image, _, _, _, _, _ = ctx.saved_tensors
    wants = list(ctx.needs_input_grad[:4])
    if image_gradient is None:
        image_gradient = torch.zeros_like(image)
    of_vertices, of_camera, of_texture, of_background = draw_backward(
        *ctx.saved_tensors, image_gradient, coverage_gradient, ctx.near, ctx.edges, wants
    )
    if wants[1] and len(projection) != len(vertices):
        of_camera = of_camera.sum(0, keepdim=True)
    if wants[3] and ctx.shared_background:
        of_background = of_background.sum(0, keepdim=True)
    gradients = (of_vertices, of_camera, of_texture, of_background)
    return *(gradient if wanted else None for gradient, wanted in zip(gradients, wants, strict=True)), *[None] * 7


draw.register_autograd(_draw_backward, setup_context=_save_drawn)


@torch.library.custom_op("lipflow_render::warp_attributes", mutates_args=())
def attributes(
    vertices: Tensor, projection: Tensor, triangles: Tensor, uv: Tensor, uv_triangles: Tensor, found: Tensor,
    screen: Tensor, bounds: Tensor, visible: Tensor, near: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Depth (B, H, W) and corner weights (B, 3, H, W) of the triangles that `draw` found; arguments as there."""
    mesh = warp_topology(triangles, uv, uv_triangles, vertices)
    vertices, projection, rows = vertices.contiguous(), projection.contiguous(), _rows(found)
    depth, barycentric = _new_attributes(vertices, found)
    launch(
        warp_raster.attributes, vertices.dtype, vertices.device, rows,
        vertices, projection, mesh.triangles, found, rows[2], depth, barycentric,
    )  # fmt: skip
    return depth, barycentric


@attributes.register_fake
def _(vertices, projection, triangles, uv, uv_triangles, found, screen, bounds, visible, near):
    return _new_attributes(vertices, found)


@torch.library.custom_op("lipflow_render::warp_attributes_backward", mutates_args=())
def attributes_backward(
    vertices: Tensor, projection: Tensor, triangles: Tensor, uv: Tensor, uv_triangles: Tensor, found: Tensor,
    screen: Tensor, bounds: Tensor, visible: Tensor, depth_gradient: Tensor | None, barycentric_gradient: Tensor | None,
    near: float, wants: list[bool],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of vertices and projection, for each sample; empty where not wanted."""
    mesh = warp_topology(triangles, uv, uv_triangles, vertices)
    vertices, projection = vertices.contiguous(), projection.contiguous()
    given = [None if g is None else g.contiguous() for g in (depth_gradient, barycentric_gradient)]
    seen = (vertices, projection, near, screen)

    def run(kernel, threads, *given):
        launch(kernel, vertices.dtype, vertices.device, threads, *given)

    corners = vertices.new_empty((*bounds.shape[:2], 3, 3), dtype=torch.float64)
    run(
        warp_backward.attributes_to_corners, bounds.shape[:2],
        *seen, mesh.triangles, bounds, lanes(vertices.device), visible, found, *given, corners,
    )  # fmt: skip
    gradients = _to_inputs(run, seen, mesh, visible, corners, None, wants)
    return tuple(vertices.new_empty(0) if gradient is None else gradient for gradient in gradients)


@attributes_backward.register_fake
def _(vertices, projection, triangles, uv, uv_triangles, found, screen, bounds, visible, depth_gradient,
      barycentric_gradient, near, wants):  # fmt: skip
    made = torch.empty_like(vertices), projection.new_empty((len(vertices), 3, 4))
    return tuple(like if wanted else vertices.new_empty(0) for like, wanted in zip(made, wants, strict=True))


def _save_attributes(ctx, inputs, output):
    *tensors, ctx.near = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _attributes_backward(ctx, depth_gradient, barycentric_gradient):
    vertices, projection = ctx.saved_tensors[:2]
    wants = list(ctx.needs_input_grad[:2])
    of_vertices, of_camera = attributes_backward(
        *ctx.saved_tensors, depth_gradient, barycentric_gradient, ctx.near, wants
    )
    if wants[1] and len(projection) != len(vertices):
        of_camera = of_camera.sum(0, keepdim=True)
    return of_vertices if wants[0] else None, of_camera if wants[1] else None, *[None] * 8


attributes.register_autograd(_attributes_backward, setup_context=_save_attributes)


def _rows(found: Tensor) -> tuple[int, int, int]:
    """Threads by sample, row and part of a row: on CUDA one for each pixel, on the CPU one for each row."""
    batch, height, width = found.shape
    return batch, height, (width if found.is_cuda else min(width, 1))


def _new(vertices: Tensor, texture: Tensor, triangles: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
    """Allocate what `draw` returns."""
    batch, count = vertices.shape[0], len(triangles)
    return (
        vertices.new_empty((batch, texture.shape[1], height, width)),
        vertices.new_empty((batch, height, width)),
        vertices.new_empty((batch, height, width), dtype=torch.int32),
        vertices.new_empty((batch, vertices.shape[1], 4)),
        vertices.new_empty((batch, count, warp_geometry.PLANE)),
        vertices.new_empty((batch, count, 4), dtype=torch.int32),
        vertices.new_empty((batch, count), dtype=torch.int32),
    )


def _new_attributes(vertices: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    batch, height, width = found.shape
    return vertices.new_empty((batch, height, width)), vertices.new_empty((batch, 3, height, width))


def _greatest(values: Tensor) -> Tensor:
    return values.abs().amax() if values.numel() else values.new_zeros(())


def _finite(values: Tensor) -> Tensor:
    return values.nan_to_num(0.0, 0.0, 0.0)


def _to_inputs(
    run, seen, mesh: WarpTopology, visible: Tensor, corners: Tensor, screen_gradient: Tensor | None, wants: list[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of vertices and projection from those of corners and of pixel coordinates."""
    vertices, projection, _, _ = seen
    batch, count, _ = vertices.shape
    seen_gradient = vertices.new_empty((batch, count, 3), dtype=torch.float64)
    vertices_gradient = torch.empty_like(vertices) if wants[0] else None
    run(
        warp_geometry.collect, (batch, count),
        *seen, mesh.starts, mesh.members, visible, corners, screen_gradient, seen_gradient, vertices_gradient,
    )  # fmt: skip
    camera_gradient = projection.new_empty((batch, 3, 4)) if wants[1] else None
    if wants[1]:
        run(warp_geometry.to_camera, (batch,), vertices, seen_gradient, camera_gradient)
    return vertices_gradient, camera_gradient
