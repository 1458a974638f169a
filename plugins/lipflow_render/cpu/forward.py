"""The forward pass: draws the pictures of a batch, sample by sample, or in bands where threads outnumber samples.

The size of a band depends on the picture alone, so results are the same to the bit for any number of threads.
"""

from __future__ import annotations

from itertools import product
from math import log2

import numpy as np
import torch
from lipflow_kit.compiled.workers import run
from torch import Tensor

from lipflow_render.cpu import attributes, shading
from lipflow_render.cpu.batch import Batch, Saved, array
from lipflow_render.cpu.buffers import buffer
from lipflow_render.cpu.cpu_topology import CpuTopology

BAND = 1 << 15
"""Pixels of a band, about: its depths fit a second-level cache."""


def draw(
    vertices: Tensor, projection: Tensor, texture: Tensor, background: Tensor | None, topology: CpuTopology, uv: Tensor,
    size: tuple[int, int], near: float,
) -> tuple[Tensor, Saved]:  # fmt: skip
    """Draw B pictures.

    Args:
        vertices: (B, V, 3).
        projection: (B or 1, 3, 4) float64.
        texture: (B or 1, C, Ht, Wt), Ht and Wt > 1.
        background: (B or 1, C, H, W), or None for black.
        topology: The mesh.
        uv: (U, 2) texture coordinates.
        size: Rows and columns of the picture.
        near: Depth of the near plane in millimetres.

    Returns:
        image (B, C, H, W), and what the backward passes need.
    """
    image = buffer((len(vertices), texture.shape[1], *size), vertices.dtype)
    saved = Saved.empty(buffer, vertices, len(topology.triangles), size)
    saved.vertices.copy_(vertices)
    batch = Batch(saved, projection, near, topology, texture)
    corners = topology.corners(uv, (texture.shape[3], texture.shape[2]), batch.kind)
    behind = np.empty((1, 0, 0, 0), batch.kind) if background is None else array(background)
    drawing = _Drawing(batch, corners, behind, image.numpy())
    if len(batch) >= torch.get_num_threads():
        run(drawing.sample, range(len(batch)))
    else:
        run(drawing.prepare, range(len(batch)))
        run(drawing.band, list(product(range(len(batch)), range(drawing.bands))))
    return image, saved


class _Drawing:
    """The kernels' calls for one batch.

    Args:
        batch: The samples.
        corners: See `geometry.set_up`.
        backgrounds: (B or 1, C, H, W), or (1, 0, 0, 0) for black.
        images: (B, C, H, W), written.
    """

    def __init__(self, batch: Batch, corners: np.ndarray, backgrounds: np.ndarray, images: np.ndarray):
        self._batch, self._corners, self._backgrounds, self._images = batch, corners, backgrounds, images
        height, width = images.shape[2:]
        self._size = (width, height)
        self._log_rows = round(log2(BAND / min(BAND, max(1, width))))
        self.bands = -(-height // 2**self._log_rows)
        self._prepared: list[tuple | None] = [None] * len(batch)

    def prepare(self, b: int) -> None:
        """Set up the triangles of one sample."""
        bounds, starts = np.empty((len(self._corners), 4), np.int32), np.empty(self.bands + 1, np.int64)
        bins = shading.prepare(self._batch.scenes[b], self._corners, self._size, self._log_rows, bounds, starts)
        self._prepared[b] = bounds, starts, bins

    def band(self, place: tuple[int, int]) -> None:
        """Draw one band of a sample that was prepared."""
        b, n = place
        self._draw(b, n, n + 1)

    def sample(self, b: int) -> None:
        """Draw one sample."""
        self.prepare(b)
        self._draw(b, 0, self.bands)
        self._prepared[b] = None

    def _draw(self, b: int, first: int, last: int) -> None:
        shading.draw(
            self._batch.scenes[b], self._batch.texture(b), self._prepared[b], self._log_rows, (first, last),
            self._backgrounds[b % len(self._backgrounds)], self._images[b],
        )  # fmt: skip


def draw_attributes(
    saved: Saved, projection: Tensor, topology: CpuTopology, near: float
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Compute depth (B, H, W) and corner weights (B, 3, H, W) of pictures that were drawn; arguments as in `draw`."""
    batch, (count, height, width) = Batch(saved, projection, near, topology), saved.found.shape
    depth = saved.vertices.new_empty((count, height, width))
    barycentric = saved.vertices.new_empty((count, 3, height, width))
    depths, weights = depth.numpy(), barycentric.numpy()
    run(lambda b: attributes.attributes(batch.scenes[b], depths[b], weights[b]), range(count))
    return depth, barycentric
