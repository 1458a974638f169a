"""Drawing the tracked mesh: masks, which the layout lacks, depth, and headset pictures."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import torch
from lipflow_kit.cameras import enlarge
from lipflow_kit.resampling import box_filter

from lipflow_core.interfaces import Renderer
from lipflow_core.records import Camera, Topology

PIXELS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Drawn:
    """Drawings of B frames in N views.

    Args:
        coverage: (B, N, h, w) share of each pixel that the mesh covers.
        image: (B, N, h, w) grey picture before black.
        depth: (B, N, s·h, s·w) millimetres, supersampled, 0 beside the mesh; None unless asked for.
    """

    coverage: np.ndarray
    image: np.ndarray
    depth: np.ndarray | None


@dataclass(frozen=True)
class MeshDrawer:
    """A renderer with the mesh that it draws; threads take turns.

    Args:
        renderer: The renderer.
        topology: The mesh's triangles and atlas.
        supersampling: Factor by which pictures are drawn larger in each direction, then box-filtered.
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
            vertices: (B, V, 3) millimetres, head frame.
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
                drawn.coverage[rows] = box_filter(rendering.coverage.numpy(), factor)
                if textures is not None:
                    drawn.image[rows] = box_filter(rendering.image[:, 0].numpy(), factor)
                if drawn.depth is not None:
                    drawn.depth[rows] = rendering.depth.numpy()
        return drawn


def as_camera(intrinsics: np.ndarray, extrinsics: np.ndarray, size: tuple[int, int]) -> Camera:
    """Give arrays as a record of cameras."""
    return Camera(as_tensor(intrinsics), as_tensor(extrinsics), *size)


def as_tensor(values: np.ndarray) -> torch.Tensor:
    """Give an array as a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
