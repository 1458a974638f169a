"""Draws the tracked mesh: the masks that the layout lacks, depth, and headset pictures."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import torch
from lipflow_kit.cameras import enlarge

from lipflow_core.interfaces import Renderer
from lipflow_core.records import Camera, Topology

PIXELS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Drawn:
    """What was drawn of B frames in N views.

    Args:
        coverage: (B, N, h, w) share of each pixel that the mesh covers.
        image: (B, N, h, w) grey picture before black.
        depth: (B, N, s·h, s·w) supersampled, 0 where nothing is; None unless asked for.
    """

    coverage: np.ndarray
    image: np.ndarray
    depth: np.ndarray | None


@dataclass(frozen=True)
class Drawing:
    """A renderer with the mesh that it draws.

    Args:
        renderer: Draws.
        topology: The mesh's.
        supersampling: Pictures are drawn this many times as large and box-filtered.
    """

    renderer: Renderer
    topology: Topology
    supersampling: int
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def draw(
        self,
        vertices: np.ndarray,
        intrinsics: np.ndarray,
        extrinsics: np.ndarray,
        size: tuple[int, int],
        textures: np.ndarray | None = None,
        *,
        depth: bool = False,
    ) -> Drawn:
        """Draw each frame's mesh from N cameras.

        Args:
            vertices: (B, V, 3).
            intrinsics: (B, N, 3, 3).
            extrinsics: (B, N, 3, 4), head → camera.
            size: Height and width.
            textures: (B, N, T, T) grey; black if None.
            depth: Whether depth is wanted.
        """
        factor = self.supersampling
        batch, count = extrinsics.shape[:2]
        fine, (height, width) = enlarge(intrinsics, factor), (side * factor for side in size)
        drawn = Drawn(
            np.empty((batch, count, *size), np.float32),
            np.zeros((batch, count, *size), np.float32),
            np.empty((batch, count, height, width), np.float32) if depth else None,
        )
        frames, views = np.divmod(np.arange(batch * count), count)
        at_once = max(1, PIXELS_AT_ONCE // (height * width))
        for start in range(0, batch * count, at_once):
            rows = frames[start : start + at_once], views[start : start + at_once]
            camera = as_camera(fine[rows], extrinsics[rows], (height, width))
            texture = torch.zeros(1, 1, 2, 2) if textures is None else as_tensor(textures[rows]).unsqueeze(1)
            with self._lock, torch.inference_mode():
                rendering = self.renderer(torch.from_numpy(vertices[rows[0]]), texture, self.topology, camera)
                drawn.coverage[rows] = _reduce(rendering.coverage.numpy(), factor)
                if textures is not None:
                    drawn.image[rows] = _reduce(rendering.image[:, 0].numpy(), factor)
                if drawn.depth is not None:
                    drawn.depth[rows] = rendering.depth.numpy()
        return drawn


def as_camera(intrinsics: np.ndarray, extrinsics: np.ndarray, size: tuple[int, int]) -> Camera:
    """Arrays as a record of cameras."""
    return Camera(as_tensor(intrinsics), as_tensor(extrinsics), *size)


def as_tensor(values: np.ndarray) -> torch.Tensor:
    """An array as a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _reduce(pictures: np.ndarray, factor: int) -> np.ndarray:
    """Box-filter (…, factor·H, factor·W) → (…, H, W)."""
    # Sums of strided views are several times as fast as a mean over two axes.
    columns = sum(pictures[..., offset::factor] for offset in range(factor))
    return sum(columns[..., offset::factor, :] for offset in range(factor)) / factor**2
