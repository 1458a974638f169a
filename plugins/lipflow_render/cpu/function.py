"""The autograd functions of renderer `cpu`: which kernel runs on what, sample by sample and band by band."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lipflow_render.cpu import backward, geometry, raster
from lipflow_render.cpu.notice import compiling
from lipflow_render.cpu.workers import run

BAND = 32
"""Rows drawn together: their depths fit a second-level cache."""


def draw(vertices, projection, texture, background, prepared, size, near, edges) -> tuple[Tensor, Tensor, Tensor]:
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
        image (B, C, H, W), coverage (B, H, W), found (B, H, W) int32.
    """
    with compiling((vertices.dtype, texture.shape[1], "draw")):
        return _Draw.apply(vertices, projection, texture, background, prepared, size, near, edges)


def draw_attributes(vertices, projection, found, prepared, near) -> tuple[Tensor, Tensor]:
    """Depth (B, H, W) and corner weights (B, 3, H, W) where triangles were found."""
    return _Attributes.apply(vertices, projection, found, prepared, near)


def _each(tensor: Tensor) -> np.ndarray:
    """A contiguous tensor's memory as an array."""
    return tensor.detach().contiguous().numpy()


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vertices, projection, texture, background, prepared, size, near, edges):
        ctx.set_materialize_grads(False)
        batch, channels = vertices.shape[0], texture.shape[1]
        height, width = size
        image = vertices.new_empty((batch, channels, height, width))
        coverage = vertices.new_empty((batch, height, width))
        found = torch.empty((batch, height, width), dtype=torch.int32)
        screen = vertices.new_empty((batch, vertices.shape[1], 4))
        planes = vertices.new_empty((batch, len(prepared.triangles), geometry.PLANE))
        points, cameras, textures = _each(vertices), _each(projection), _each(texture.flatten(2))
        behind = np.empty((1, 0, 0, 0), points.dtype) if background is None else _each(background)
        images, coverages, founds, screens, all_planes = map(_each, (image, coverage, found, screen, planes))
        uv = prepared.corners[points.dtype]
        bands = -(-height // BAND)
        texels, extent = (texture.shape[3], texture.shape[2]), (width, height)
        bins, starts, bounds = [None] * batch, np.zeros((batch, bands + 1), np.int64), [None] * batch

        def prepare(b: int) -> None:
            camera = cameras[b % len(cameras)]
            bounds[b] = np.empty((len(uv), 4), np.int32)
            geometry.transform(points[b], camera, near, screens[b])
            bins[b] = geometry.set_up(
                points[b], camera, near, screens[b], prepared.triangles, uv, texels, extent, BAND,
                all_planes[b], bounds[b], np.empty(2 * len(uv), np.int32), starts[b],
            )  # fmt: skip

        def draw_band(item: tuple[int, int]) -> None:
            b, n = item
            rows = (n * BAND, min(height, (n + 1) * BAND))
            raster.draw(
                points[b], cameras[b % len(cameras)], near, screens[b], prepared.triangles, all_planes[b], bounds[b],
                bins[b][starts[b, n] : starts[b, n + 1]], texels, textures[b % len(textures)], (0,) * channels,
                behind[b % len(behind)], rows, np.empty((BAND, width + int(raster.LANES)), np.int64),
                np.empty(width, np.int32), np.empty((2, width), points.dtype),
                images[b], coverages[b], founds[b],
            )  # fmt: skip

        run(prepare, range(batch))
        run(draw_band, list(product(range(batch), range(bands))))
        ctx.mark_non_differentiable(found)
        ctx.save_for_backward(vertices, projection, texture, image, found, screen, planes)
        ctx.prepared, ctx.near, ctx.edges = prepared, near, edges
        ctx.background_batch = 0 if background is None else len(background)
        return image, coverage, found

    @staticmethod
    @once_differentiable
    def backward(ctx, image_gradient, coverage_gradient, _):
        with compiling((ctx.saved_tensors[0].dtype, ctx.saved_tensors[2].shape[1], "undraw")):
            return _Draw.undraw(ctx, image_gradient, coverage_gradient)

    @staticmethod
    def undraw(ctx, image_gradient, coverage_gradient):
        """What backward does, once its kernels are known to be compiled by one thread only."""
        vertices, projection, texture, image, found, screen, planes = ctx.saved_tensors
        wants_vertices, wants_camera, wants_texture, wants_background = ctx.needs_input_grad[:4]
        wants_geometry = wants_vertices or wants_camera
        batch, channels, height, width = image.shape
        texels = (texture.shape[3], texture.shape[2])
        if image_gradient is None:
            image_gradient = torch.zeros_like(image)
        kind = image.dtype
        vertices_gradient = vertices.new_empty(vertices.shape) if wants_vertices else None
        camera_gradient = projection.new_empty((batch, 3, 4)) if wants_camera else None
        texture_gradient = texture.new_zeros((batch, *texture.shape[1:])) if wants_texture else None
        background_gradient = image.new_empty(image.shape) if wants_background else None
        points, cameras, textures, images, founds, screens, all_planes, from_image = map(
            _each, (vertices, projection, texture.flatten(2), image, found, screen, planes, image_gradient)
        )
        none, flat = np.empty((0, 0, 0), points.dtype), np.empty((0, 0), points.dtype)
        prepared, uv = ctx.prepared, ctx.prepared.corners[points.dtype]
        from_coverage = None if coverage_gradient is None else _each(coverage_gradient.to(kind))
        to_texture = None if texture_gradient is None else texture_gradient.flatten(2).numpy()
        to_background = None if background_gradient is None else background_gradient.numpy()

        def undraw(b: int) -> None:
            sums = np.zeros((len(uv) if wants_geometry else 0, 9), points.dtype)
            edge_sums = np.zeros((points.shape[1] if wants_geometry and ctx.edges else 0, 2))
            camera = cameras[b % len(cameras)]
            backward.undraw(
                ctx.near, screens[b], prepared.triangles, prepared.adjacent, prepared.sheet, all_planes[b],
                texels, textures[b % len(textures)], (0,) * channels, images[b], founds[b], (0, height),
                np.empty(width, np.int32), np.empty((2, width), points.dtype), np.empty((2, width), points.dtype),
                from_image[b], flat if from_coverage is None else from_coverage[b], sums,
                flat if to_texture is None else to_texture[b],
                none if to_background is None else to_background[b], edge_sums,
            )  # fmt: skip
            if not wants_geometry:
                return
            seen = np.zeros((points.shape[1], 3))
            geometry.triangles_to_seen(
                points[b], camera, ctx.near, screens[b], prepared.triangles, all_planes[b], sums, seen
            )
            if ctx.edges:
                geometry.screen_to_seen(screens[b], ctx.near, edge_sums, seen)
            _to_inputs(points[b], camera, seen, vertices_gradient, camera_gradient, b)

        run(undraw, range(batch))
        if wants_texture and len(texture) != batch:
            texture_gradient = texture_gradient.sum(0, keepdim=True)
        if wants_background and ctx.background_batch != batch:
            background_gradient = background_gradient.sum(0, keepdim=True)
        return (vertices_gradient, _shared(camera_gradient, projection), texture_gradient, background_gradient) + (
            None,
        ) * 4


class _Attributes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vertices, projection, found, prepared, near):
        ctx.set_materialize_grads(False)
        batch, height, width = found.shape
        depth = vertices.new_empty((batch, height, width))
        barycentric = vertices.new_empty((batch, 3, height, width))
        points, cameras, founds = map(_each, (vertices, projection, found))
        depths, barycentrics = _each(depth), _each(barycentric)

        def attributes(b: int) -> None:
            raster.attributes(
                points[b], cameras[b % len(cameras)], prepared.triangles, founds[b], depths[b], barycentrics[b]
            )

        run(attributes, range(batch))
        ctx.save_for_backward(vertices, projection, found)
        ctx.prepared, ctx.near = prepared, near
        return depth, barycentric

    @staticmethod
    @once_differentiable
    def backward(ctx, depth_gradient, barycentric_gradient):
        vertices, projection, found = ctx.saved_tensors
        points, cameras, founds = map(_each, (vertices, projection, found))
        none, flat = np.empty((0, 0, 0), points.dtype), np.empty((0, 0), points.dtype)
        from_depth = None if depth_gradient is None else _each(depth_gradient)
        from_barycentric = None if barycentric_gradient is None else _each(barycentric_gradient)
        vertices_gradient = torch.empty_like(vertices) if ctx.needs_input_grad[0] else None
        camera_gradient = projection.new_empty((len(vertices), 3, 4)) if ctx.needs_input_grad[1] else None

        def attributes(b: int) -> None:
            seen = np.zeros((points.shape[1], 3))
            camera = cameras[b % len(cameras)]
            backward.attributes_to_seen(
                points[b], camera, ctx.near, ctx.prepared.triangles, founds[b],
                flat if from_depth is None else from_depth[b],
                none if from_barycentric is None else from_barycentric[b], seen,
            )  # fmt: skip
            _to_inputs(points[b], camera, seen, vertices_gradient, camera_gradient, b)

        run(attributes, range(len(points)))
        return vertices_gradient, _shared(camera_gradient, projection), None, None, None


def _to_inputs(points, camera, seen, vertices_gradient, camera_gradient, b: int) -> None:
    """Write one sample's gradients of vertices and camera from those of its homogeneous coordinates."""
    geometry.seen_to_inputs(
        points,
        camera,
        seen,
        np.empty((0, 3), points.dtype) if vertices_gradient is None else vertices_gradient[b].numpy(),
        np.empty((0, 4)) if camera_gradient is None else camera_gradient[b].numpy(),
    )


def _shared(camera_gradient: Tensor | None, projection: Tensor) -> Tensor | None:
    if camera_gradient is None or len(camera_gradient) == len(projection):
        return camera_gradient
    return camera_gradient.sum(0, keepdim=True)
