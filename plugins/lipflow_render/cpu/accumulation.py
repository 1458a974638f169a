"""Accumulation of gradients over the samples of a batch: of vertices and cameras, and of textures in shares.

A share is a run of strips of rows of the samples that show one texture, with a sum of its own, so that several threads
can add to one texture's gradient.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lipflow_render.cpu import geometry_backward, texture_gradients
from lipflow_render.cpu.batch import Batch
from lipflow_render.cpu.buffers import buffer, zeros
from lipflow_render.cpu.scanline import LANES
from lipflow_render.cpu.texture_gradients import PADDING, QUAD, SPAN, STREAMED


class GeometryGradients:
    """Gradients of vertices and cameras, collected sample by sample from those of homogeneous coordinates.

    Args:
        batch: The samples.
        vertices, cameras: Which gradients are wanted.
        parts: Parts in which those of homogeneous coordinates are computed.

    Attributes:
        wanted: Whether any gradient is wanted.
        parts: For each sample between `begin` and `end` (parts, V, 3) float64, to be written.
    """

    def __init__(self, batch: Batch, vertices: bool, cameras: bool, parts: int):
        self._batch = batch
        count = len(batch)
        self._vertices = np.empty_like(batch.vertices) if vertices else np.empty((count, 0, 3), batch.kind)
        self._cameras = np.empty((count, 3, 4)) if cameras else np.empty((count, 0, 4))
        self._wants = vertices, cameras
        self._shape = (parts, batch.vertices.shape[1], 3)
        self.wanted = vertices or cameras
        self.parts: list[np.ndarray | None] = [None] * len(batch)

    def begin(self, b: int) -> None:
        """Allocate a sample's parts."""
        self.parts[b] = np.empty(self._shape)

    def end(self, b: int) -> None:
        """Add a sample's parts and carry them to its vertices and camera."""
        geometry_backward.corners_to_inputs(
            self._batch.vertices[b],
            self._batch.projections[b % len(self._batch.projections)],
            self.parts[b],
            self._vertices[b],
            self._cameras[b],
        )
        self.parts[b] = None

    def gradients(self) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of all vertices, and of all cameras or of the one that all samples share."""
        wants_vertices, wants_cameras = self._wants
        vertices = torch.from_numpy(self._vertices) if wants_vertices else None
        cameras = torch.from_numpy(self._cameras) if wants_cameras else None
        if cameras is not None and len(self._batch.projections) != len(cameras):
            cameras = cameras.sum(0, keepdim=True)
        return vertices, cameras


class Strips(NamedTuple):
    """Strips of rows of a sample: the first one and the one after the last.

    Args:
        sample: Counted among the samples that show one texture.
        first, last: The strips.
    """

    sample: int
    first: int
    last: int


def divided(samples: int, strips: int, most: int) -> list[list[Strips]]:
    """Divide the strips of the samples that show a texture into shares.

    Args:
        samples: Samples that show the texture.
        strips: Strips per sample.
        most: Most shares.

    Returns:
        The shares, each a list of strips.
    """
    count = max(1, min(most, samples * strips))
    cuts = [samples * strips * n // count for n in range(count + 1)]
    return [
        [
            Strips(sample, max(first - sample * strips, 0), min(last - sample * strips, strips))
            for sample in range(samples)
            if first < (sample + 1) * strips and last > sample * strips
        ]
        for first, last in pairwise(cuts)
    ]


class Sums(NamedTuple):
    """The sums of one texture's gradient; see `texture_gradients`.

    Args:
        values: (shares, height, (width + PADDING) · S), zero width and height if no gradient is wanted.
        spans: (shares, ceil(height / SPAN), 2) int32.
    """

    values: np.ndarray
    spans: np.ndarray


class TextureGradients:
    """Gradients of textures.

    Args:
        texture: (B or 1, C, Ht, Wt).
        wanted: Whether its gradient is wanted.
        shares: The shares of each texture.
        kind: Precision of the pictures.

    Attributes:
        gradient: Of the shape of `texture`, or None.
        shares: As given.
    """

    def __init__(self, texture: Tensor, wanted: bool, shares: list[list[Strips]], kind: np.dtype):
        _, channels, self._height, self._width = texture.shape
        self.shares = shares
        self._channels, self._kind = (0,) * channels, kind
        self.gradient = buffer(tuple(texture.shape), texture.dtype) if wanted else None
        if wanted:
            self._flat = self.gradient.flatten(2).numpy()
            # Streaming stores need whole aligned vectors.
            aligned = self.gradient.data_ptr() % (LANES * kind.itemsize) == 0 and self._width % LANES == 0
            self._streaming = aligned and self.gradient.nbytes >= STREAMED

    def zeros(self, count: int) -> AbstractContextManager[np.ndarray]:
        """Lend zeros for the sums of so many textures; `write_out` must be called for all rows of each."""
        if self.gradient is None:
            return nullcontext(np.empty((count, len(self.shares), 0, 0), self._kind))
        numbers = (self._width + PADDING) * (-(-len(self._channels) // QUAD) * QUAD)
        return zeros((count, len(self.shares), self._height, numbers), self._kind)

    def sums(self, values: np.ndarray) -> list[Sums]:
        """Sums in the zeros that were lent, for each texture."""
        spans = np.full((*values.shape[:2], -(-self._height // SPAN), 2), (self._width, 0), np.int32)
        return [Sums(*each) for each in zip(values, spans, strict=True)]

    def rows(self, threads: int) -> list[tuple[int, int]]:
        """Divide the rows of a texture among threads."""
        if self.gradient is None:
            return []
        count = min(threads, -(-self._height // SPAN))
        cuts = [self._height * n // count // SPAN * SPAN for n in range(count)]
        return list(pairwise([*cuts, self._height]))

    def write_out(self, n: int, sums: Sums, rows: tuple[int, int]) -> None:
        """Write rows of texture n's gradient."""
        texture_gradients.write_out(*sums, self._channels, self._width, rows, self._streaming, self._flat[n])
