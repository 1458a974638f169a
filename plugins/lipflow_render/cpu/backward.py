"""Which kernel runs on what, sample by sample, and in parts of pictures where threads outnumber samples.

Pictures are drawn in bands of rows, and their gradients are summed in strips of rows, whose sizes depend on the
picture alone: results are the same to the bit for any number of threads. So are those of a texture, in shares of
the pictures that show it, which are then added up.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise, product
from math import log2

import numpy as np
import torch
from lipflow_kit.compiled.workers import run
from torch import Tensor

from lipflow_render.cpu import attributes, edges, interior, shading, way_back
from lipflow_render.cpu.drawn import Drawn, array
from lipflow_render.cpu.prepared import PreparedTopology
from lipflow_render.cpu.scratch import memory, zeros

BAND = 1 << 15
"""Pixels drawn together, about: their depths fit a second-level cache."""

STRIP = 256
"""Rows whose gradients are summed together."""

SHARES = 4
"""Shares, at most, of what shows a texture whose gradients are summed apart, so that threads can work on them."""


def draw(
    vertices: Tensor, projection: Tensor, texture: Tensor, background: Tensor | None, prepared: PreparedTopology,
    size: tuple[int, int], near: float,
) -> tuple[Tensor, Drawn]:  # fmt: skip
    """Draw B pictures.

    Args:
        vertices: (B, V, 3).
        projection: (B or 1, 3, 4) float64.
        texture: (B or 1, C, Ht, Wt).
        background: (B or 1, C, H, W), or None.
        prepared: The topology.
        size: Rows and columns of the picture.
        near: Depth of the near plane.

    Returns:
        image (B, C, H, W), and what `undraw` needs.
    """
    batch, channels = len(vertices), texture.shape[1]
    height, width = size
    image = memory((batch, channels, height, width), vertices.dtype)
    drawn = Drawn.empty(memory, vertices, len(prepared.triangles), height, width)
    points, cameras, textures = (array(vertices), array(projection), array(texture.flatten(2)))
    behind = np.empty((1, 0, 0, 0), points.dtype) if background is None else array(background)
    images, (founds, screens, planes, facings) = image.numpy(), map(array, drawn)
    triangles = prepared.triangles
    band = round(log2(BAND / min(BAND, max(1, width))))
    bands = -(-height // 2**band)
    texels, extent, colours = ((texture.shape[3], texture.shape[2]), (width, height), (0,) * channels)
    corners = prepared.corners_in(texels, points.dtype)
    starts, set_up = np.zeros((batch, bands + 1), np.int64), [None] * batch

    def prepare(b: int) -> None:
        bounds = np.empty((len(triangles), 4), np.int32)
        bins = shading.prepare(
            points[b], cameras[b % len(cameras)], near, screens[b], triangles, corners, extent, band, planes[b],
            bounds, facings[b], starts[b],
        )  # fmt: skip
        set_up[b] = bounds, bins

    def draw_bands(b: int, first: int, last: int) -> None:
        bounds, bins = set_up[b]
        shading.draw(
            points[b], cameras[b % len(cameras)], near, screens[b], triangles, planes[b], bounds, bins, starts[b],
            band, (first, last), texels, textures[b % len(textures)], colours, behind[b % len(behind)], images[b],
            founds[b],
        )  # fmt: skip

    def draw_whole(b: int) -> None:
        prepare(b)
        draw_bands(b, 0, bands)
        set_up[b] = None

    if batch >= torch.get_num_threads():
        run(draw_whole, range(batch))
    else:
        run(prepare, range(batch))
        run(lambda item: draw_bands(item[0], item[1], item[1] + 1), list(product(range(batch), range(bands))))
    return image, drawn


def undraw(
    image_gradient: Tensor, vertices: Tensor, projection: Tensor, texture: Tensor, prepared: PreparedTopology,
    near: float, with_edges: bool, image: Tensor, drawn: Drawn, wants: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """Carry gradients of pictures back.

    Args:
        image_gradient: (B, C, H, W).
        vertices, projection, texture, prepared, near: As drawn.
        with_edges: Whether gradients include the motion of silhouettes.
        image, drawn: What `draw` returned.
        wants: Which of the gradients are wanted.

    Returns:
        Gradients of vertices, projection and texture in their shapes; None if not wanted.
    """
    wants_vertices, wants_camera, wants_texture = wants
    wants_geometry = wants_vertices or wants_camera
    batch, channels, height, _ = image.shape
    texels, colours = (texture.shape[3], texture.shape[2]), (0,) * channels
    texture_gradient = memory(tuple(texture.shape), texture.dtype) if wants_texture else None
    points, cameras, textures, images, from_image = map(
        array, (vertices, projection, texture.flatten(2), image, image_gradient)
    )
    founds, screens, planes, facings = map(array, drawn)
    triangles, kind = prepared.triangles, points.dtype
    to_inputs = _ToInputs(points, cameras, wants_vertices, wants_camera)
    strips, threads = max(1, -(-height // STRIP)), torch.get_num_threads()
    # Without a texture's gradients nothing has to be added up afterwards, so that each strip can be a share.
    shares = _shares(batch // max(1, len(textures)), strips, SHARES if wants_texture else batch * strips)
    flat, nowhere = np.empty((0, 0), kind), np.empty((0, 0, 0))
    to_texture = None if texture_gradient is None else texture_gradient.flatten(2).numpy()
    streaming = wants_texture and interior.may_stream(texture_gradient)
    from_seen: list[np.ndarray | None] = [None] * batch

    def begin(b: int) -> None:
        if wants_geometry:
            from_seen[b] = np.empty((strips + with_edges, points.shape[1], 3))

    def pixels(b: int, strips: tuple[int, int], sums: np.ndarray, spans: np.ndarray) -> None:
        interior.undraw(
            points[b], cameras[b % len(cameras)], near, screens[b], triangles, planes[b], texels,
            textures[b % len(textures)], colours, founds[b], STRIP, strips, from_image[b],
            from_seen[b] if wants_geometry else nowhere, sums, spans,
        )  # fmt: skip

    def boundaries(b: int) -> None:
        edges.undraw_edges(
            near, screens[b], triangles, prepared.adjacent, prepared.sheet, prepared.edges, planes[b], facings[b],
            images[b], founds[b], from_image[b], flat, from_seen[b][strips],
        )  # fmt: skip

    def end(b: int) -> None:
        if wants_geometry:
            to_inputs(b, from_seen[b])
            from_seen[b] = None

    def summing(count: int) -> AbstractContextManager[np.ndarray]:
        """Where gradients of the texels of so many textures are summed."""
        if not wants_texture:
            return nullcontext(np.empty((count, len(shares), 0, 0), kind))
        wide = (texels[0] + interior.SPARE) * (-(-channels // interior.QUAD) * interior.QUAD)
        return zeros((count, len(shares), texels[1], wide), kind)

    def add_share(n: int, share: int, sums: np.ndarray, spans: np.ndarray) -> None:
        """Gradients of a share of what shows a texture."""
        for sample, first, last in shares[share]:
            pixels(n + sample * len(textures), (first, last), sums[share], spans[share])

    def hand_over(n: int, rows: tuple[int, int], sums: np.ndarray, spans: np.ndarray) -> None:
        interior.hand_over(sums, spans, colours, texels[0], rows, streaming, to_texture[n])

    def whole(n: int) -> None:
        """All gradients of the samples that show a texture."""
        samples = range(n, batch, len(textures))
        for b in samples:
            begin(b)
        with summing(1) as sums:
            spans = interior.new_spans(1, len(shares), texels)
            for share in range(len(shares)):
                add_share(n, share, sums[0], spans[0])
            if wants_texture:
                hand_over(n, (0, texels[1]), sums[0], spans[0])
        for b in samples:
            if wants_geometry and with_edges:
                boundaries(b)
            end(b)

    def shared_out(textures_now: range) -> None:
        """The same of several textures, each on several threads."""
        samples = [b for n in textures_now for b in range(n, batch, len(textures))]
        for b in samples:
            begin(b)
        with summing(len(textures_now)) as sums:
            spans = interior.new_spans(len(textures_now), len(shares), texels)
            each = list(zip(textures_now, sums, spans, strict=True))
            # The longest first, so that threads end together.
            tasks = [partial(add_share, n, share, s, x) for n, s, x in each for share in range(len(shares))]
            tasks += [partial(boundaries, b) for b in samples if wants_geometry and with_edges]
            run(lambda task: task(), tasks)
            if wants_texture:
                cuts = [texels[1] * n // threads // interior.SPAN * interior.SPAN for n in range(threads)]
                rows = list(pairwise([*cuts, texels[1]]))
                run(lambda task: task(), [partial(hand_over, n, r, s, x) for n, s, x in each for r in rows])
        run(end, samples)

    if threads <= 1 or len(textures) >= threads:
        run(whole, range(len(textures)))
    else:
        # As many at once as it takes to keep all threads at work: each needs memory to sum its gradients in.
        together = -(-threads // len(shares))
        for first in range(0, len(textures), together):
            shared_out(range(first, min(first + together, len(textures))))
    return *to_inputs.gradients(), texture_gradient


def _shares(samples: int, strips: int, most: int) -> list[list[tuple[int, int, int]]]:
    """Cut the strips of the samples that show a texture into at most so many shares: of each sample the first strip and
    the one after the last."""
    count = max(1, min(most, samples * strips))
    cuts = [samples * strips * n // count for n in range(count + 1)]
    return [
        [
            (sample, max(first - sample * strips, 0), min(last - sample * strips, strips))
            for sample in range(samples)
            if first < (sample + 1) * strips and last > sample * strips
        ]
        for first, last in pairwise(cuts)
    ]


def undraw_background(image_gradient: Tensor, drawn: Drawn, shared: bool) -> Tensor:
    """Gradients of backgrounds (B, C, H, W), or of the one that all pictures share, from those of the pictures."""
    gradient = torch.where(drawn.found[:, None] < 0, image_gradient, 0)
    return gradient.sum(0, keepdim=True) if shared else gradient


def undraw_coverage(
    coverage_gradient: Tensor, vertices: Tensor, projection: Tensor, prepared: PreparedTopology, near: float,
    drawn: Drawn, wants: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of vertices and projection from those of the coverage (B, H, W); arguments as in `undraw`."""
    points, cameras, from_coverage = map(array, (vertices, projection, coverage_gradient))
    founds, screens, planes, facings = map(array, drawn)
    to_inputs = _ToInputs(points, cameras, *wants)
    none = np.empty((0, 0, 0), points.dtype)

    def boundaries(b: int) -> None:
        seen = np.empty((1, points.shape[1], 3))
        edges.undraw_edges(
            near, screens[b], prepared.triangles, prepared.adjacent, prepared.sheet, prepared.edges, planes[b],
            facings[b], none, founds[b], none, from_coverage[b], seen[0],
        )  # fmt: skip
        to_inputs(b, seen)

    run(boundaries, range(len(points)))
    return to_inputs.gradients()


def draw_attributes(
    vertices: Tensor, projection: Tensor, found: Tensor, prepared: PreparedTopology
) -> tuple[Tensor, Tensor]:
    """Depth (B, H, W) and corner weights (B, 3, H, W) where triangles were found."""
    batch, height, width = found.shape
    depth = vertices.new_empty((batch, height, width))
    barycentric = vertices.new_empty((batch, 3, height, width))
    points, cameras, founds, depths, barycentrics = map(array, (vertices, projection, found, depth, barycentric))

    def sample(b: int) -> None:
        attributes.attributes(
            points[b], cameras[b % len(cameras)], prepared.triangles, founds[b], depths[b], barycentrics[b]
        )

    run(sample, range(batch))
    return depth, barycentric


def undraw_attributes(
    depth_gradient: Tensor | None, barycentric_gradient: Tensor | None, vertices: Tensor, projection: Tensor,
    found: Tensor, prepared: PreparedTopology, near: float, wants: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of vertices and projection from those of depth and corner weights."""
    points, cameras, founds = map(array, (vertices, projection, found))
    none, flat = np.empty((0, 0, 0), points.dtype), np.empty((0, 0), points.dtype)
    from_depth = None if depth_gradient is None else array(depth_gradient)
    from_barycentric = None if barycentric_gradient is None else array(barycentric_gradient)
    to_inputs = _ToInputs(points, cameras, *wants)

    def sample(b: int) -> None:
        seen = np.zeros((1, points.shape[1], 3))
        attributes.attributes_to_seen(
            points[b], cameras[b % len(cameras)], near, prepared.triangles, founds[b],
            flat if from_depth is None else from_depth[b],
            none if from_barycentric is None else from_barycentric[b], seen[0],
        )  # fmt: skip
        to_inputs(b, seen)

    run(sample, range(len(points)))
    return to_inputs.gradients()


class _ToInputs:
    """Collects the gradients of vertices and cameras from those of homogeneous coordinates, sample by sample."""

    def __init__(self, points: np.ndarray, cameras: np.ndarray, wants_vertices: bool, wants_camera: bool):
        self.points, self.cameras = points, cameras
        self.vertices = np.empty_like(points) if wants_vertices else None
        self.projections = np.empty((len(points), 3, 4)) if wants_camera else None

    def __call__(self, b: int, parts: np.ndarray) -> None:
        """Take gradients of homogeneous coordinates, parts (N, V, 3) of them to be summed."""
        way_back.seen_to_inputs(
            self.points[b],
            self.cameras[b % len(self.cameras)],
            parts,
            np.empty((0, 3), self.points.dtype) if self.vertices is None else self.vertices[b],
            np.empty((0, 4)) if self.projections is None else self.projections[b],
        )

    def gradients(self) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of all vertices, and of all cameras or the one that all samples share."""
        vertices = None if self.vertices is None else torch.from_numpy(self.vertices)
        cameras = None if self.projections is None else torch.from_numpy(self.projections)
        if cameras is not None and len(self.cameras) != len(cameras):
            cameras = cameras.sum(0, keepdim=True)
        return vertices, cameras
