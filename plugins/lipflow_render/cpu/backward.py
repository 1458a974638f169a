"""The backward passes: they carry gradients of pictures back to vertices, cameras, textures and backgrounds.

`draw_backward` does all of it for images. Gradients within surfaces are computed in strips of rows and summed in shares
(see `accumulation`), those of boundaries for a whole picture at once. Strips and shares depend on the pictures alone,
so results are the same to the bit for any number of threads.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from lipflow_kit.compiled.workers import run
from torch import Tensor

from lipflow_render.cpu import attributes, silhouettes, surfaces
from lipflow_render.cpu.accumulation import GeometryGradients, Sums, TextureGradients, divided
from lipflow_render.cpu.batch import Batch, Saved, array
from lipflow_render.cpu.cpu_topology import CpuTopology

STRIP = 256
"""Rows whose gradients with respect to geometry are summed together."""

SHARES = 4
"""Most shares of a texture's gradient: as many threads can sum it at once, and each share takes memory."""


def draw_backward(
    image_gradient: Tensor, projection: Tensor, texture: Tensor, topology: CpuTopology, near: float,
    with_boundaries: bool, image: Tensor, saved: Saved, wants: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """Carry gradients of images back.

    Args:
        image_gradient: (B, C, H, W).
        projection, texture, topology, near: What `forward.draw` was given.
        with_boundaries: Whether gradients include the motion of silhouettes and self-occlusions.
        image, saved: What it returned.
        wants: Whether gradients of vertices, projection and texture are wanted.

    Returns:
        These gradients in the shapes of their inputs; None where not wanted.
    """
    batch = Batch(saved, projection, near, topology, texture)
    strips = max(1, -(-image.shape[2] // STRIP))
    geometry = GeometryGradients(batch, wants[0], wants[1], strips + with_boundaries)
    # Without a texture's gradient there is nothing to add up, so each strip can be a share.
    most = SHARES if wants[2] else len(batch) * strips
    shares = divided(len(batch) // max(1, len(texture)), strips, most)
    textures = TextureGradients(texture, wants[2], shares, batch.kind)
    work = _ImageBackward(
        batch, topology, geometry, textures, array(image), array(image_gradient), strips,
        with_boundaries and geometry.wanted,
    )  # fmt: skip
    threads = torch.get_num_threads()
    if threads <= 1 or len(texture) >= threads:
        run(work.one_texture, range(len(texture)))
    else:
        # No more textures at once than keep all threads busy: each needs memory for its sums.
        together = -(-threads // len(textures.shares))
        for first in range(0, len(texture), together):
            work.several_textures(range(first, min(first + together, len(texture))), threads)
    return *geometry.gradients(), textures.gradient


def background_backward(image_gradient: Tensor, saved: Saved, shared: bool) -> Tensor:
    """Gradients of backgrounds (B, C, H, W), or of the one that all pictures share, from those of the images."""
    gradient = torch.where(saved.found[:, None] < 0, image_gradient, 0)
    return gradient.sum(0, keepdim=True) if shared else gradient


def coverage_backward(
    coverage_gradient: Tensor, projection: Tensor, topology: CpuTopology, near: float, saved: Saved,
    wants: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of vertices and projection from those of coverage (B, H, W); arguments as in `draw_backward`."""
    batch, from_coverage = Batch(saved, projection, near, topology), array(coverage_gradient)
    geometry = GeometryGradients(batch, *wants, parts=1)
    none = np.empty((0, 0, 0), batch.kind)

    def sample(b: int) -> None:
        geometry.begin(b)
        silhouettes.boundary_gradients(
            batch.scenes[b], topology.adjacency, none, none, from_coverage[b], geometry.parts[b][0]
        )
        geometry.end(b)

    run(sample, range(len(batch)))
    return geometry.gradients()


def attributes_backward(
    depth_gradient: Tensor | None, barycentric_gradient: Tensor | None, projection: Tensor, topology: CpuTopology,
    near: float, saved: Saved, wants: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of vertices and projection from those of depth (B, H, W) and corner weights (B, 3, H, W)."""
    batch = Batch(saved, projection, near, topology)
    geometry = GeometryGradients(batch, *wants, parts=1)
    depths, weights = (None if given is None else array(given) for given in (depth_gradient, barycentric_gradient))
    flat, none = np.empty((0, 0), batch.kind), np.empty((0, 0, 0), batch.kind)

    def sample(b: int) -> None:
        geometry.begin(b)
        geometry.parts[b][:] = 0
        attributes.attribute_gradients(
            batch.scenes[b],
            flat if depths is None else depths[b],
            none if weights is None else weights[b],
            geometry.parts[b][0],
        )
        geometry.end(b)

    run(sample, range(len(batch)))
    return geometry.gradients()


class _ImageBackward:
    """The kernels' calls for the gradients of one batch of images.

    Args:
        batch: The samples.
        topology: The mesh.
        geometry, textures: Where gradients go.
        images: (B, C, H, W) as drawn.
        image_gradients: (B, C, H, W).
        strips: Strips per picture.
        boundaries: Whether to search for boundaries.
    """

    def __init__(
        self,
        batch: Batch,
        topology: CpuTopology,
        geometry: GeometryGradients,
        textures: TextureGradients,
        images: np.ndarray,
        image_gradients: np.ndarray,
        strips: int,
        boundaries: bool,
    ):
        self._batch, self._adjacency = batch, topology.adjacency
        self._geometry, self._textures = geometry, textures
        self._images, self._image_gradients = images, image_gradients
        self._strips, self._with_boundaries = strips, boundaries
        self._no_corners, self._no_coverage = np.empty((0, 0, 0)), np.empty((0, 0), batch.kind)

    def one_texture(self, n: int) -> None:
        """Compute all gradients of the samples that show texture n, on this thread."""
        samples = self._samples(n)
        self._begin(samples)
        with self._textures.zeros(1) as values:
            (sums,) = self._textures.sums(values)
            for share in range(len(self._textures.shares)):
                self._add_share(n, share, sums)
            for rows in self._textures.rows(1):
                self._textures.write_out(n, sums, rows)
        for b in samples:
            if self._with_boundaries:
                self._boundaries(b)
            self._end(b)

    def several_textures(self, textures: range, threads: int) -> None:
        """Compute all gradients of the samples that show these textures, each on several threads."""
        samples = [b for n in textures for b in self._samples(n)]
        self._begin(samples)
        with self._textures.zeros(len(textures)) as values:
            each = list(zip(textures, self._textures.sums(values), strict=True))
            shares = range(len(self._textures.shares))
            # The longest tasks first, so that threads end together.
            tasks = [partial(self._add_share, n, share, sums) for n, sums in each for share in shares]
            tasks += [partial(self._boundaries, b) for b in samples if self._with_boundaries]
            run(_call, tasks)
            rows = self._textures.rows(threads)
            run(_call, [partial(self._textures.write_out, n, sums, part) for n, sums in each for part in rows])
        run(self._end, samples)

    def _samples(self, n: int) -> range:
        """The samples that show texture n."""
        return range(n, len(self._batch), len(self._batch.textures))

    def _begin(self, samples: range | list[int]) -> None:
        if self._geometry.wanted:
            for b in samples:
                self._geometry.begin(b)

    def _end(self, b: int) -> None:
        if self._geometry.wanted:
            self._geometry.end(b)

    def _add_share(self, n: int, share: int, sums: Sums) -> None:
        """Add the gradients within surfaces of one share of what shows texture n."""
        for sample, first, last in self._textures.shares[share]:
            b = n + sample * len(self._batch.textures)
            surfaces.surface_gradients(
                self._batch.scenes[b], self._batch.texture(b), STRIP, (first, last), self._image_gradients[b],
                self._geometry.parts[b] if self._geometry.wanted else self._no_corners,
                sums.values[share], sums.spans[share],
            )  # fmt: skip

    def _boundaries(self, b: int) -> None:
        silhouettes.boundary_gradients(
            self._batch.scenes[b], self._adjacency, self._images[b], self._image_gradients[b], self._no_coverage,
            self._geometry.parts[b][self._strips],
        )  # fmt: skip


def _call(task: partial) -> None:
    task()
