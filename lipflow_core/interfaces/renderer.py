"""The contract of renderers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from lipflow_core.interfaces.component import ComponentModule, check_shape
from lipflow_core.interfaces.rendering import joined
from lipflow_core.records import Camera, Rendering, Topology


class Renderer(ComponentModule, ABC):
    """Draws textured triangle meshes, with gradients to vertices, texture and camera, silhouettes included.

    Implement `render`. The image is sampled at pixel centres (integers); triangles are drawn from both sides; texture
    is sampled bilinearly with texel centres at ((i + ½) / W) and clamped at the border. Gradients of image and
    coverage with respect to geometry include the motion of silhouettes and self-occlusions.
    """

    def forward(
        self,
        vertices: Tensor,
        texture: Tensor,
        topology: Topology | Sequence[Topology],
        camera: Camera,
        background: Tensor | None = None,
    ) -> Rendering:
        """Draw B pictures, or B · N.

        They are drawn in float64 if the vertices are float64, else in float32, under autocast too.

        Args:
            vertices: (B, V, 3) millimetres in the frame that the camera's extrinsics map from.
            texture: (B, C, Ht, Wt), or (1, C, Ht, Wt) shared by all samples.
            topology: Triangles and texture atlas, one for all samples or one for each.
            camera: Leading axis (B,), or (1,) shared by all samples; or (B, N) for N pictures of each sample.
            background: (B or 1, C, H, W), (B · N or 1, C, H, W) for N pictures of each sample; black if None.

        Returns:
            Rendering of B pictures of the camera's size, or of B · N, sample by sample.

        Raises:
            ValueError: If shapes do not fit together, or a texture has no texels.
        """
        batch = vertices.shape[0]
        check_shape(self, "vertices", vertices, "B V xyz", xyz=3)
        check_shape(self, "texture", texture, "B C Ht Wt", B=1 if texture.shape[0] == 1 else batch)
        if 0 in texture.shape[2:]:
            raise ValueError(f"{type(self).__name__}: texture {tuple(texture.shape)} has no texels")
        views = camera.extrinsics.shape[1] if camera.extrinsics.ndim == 4 else None
        cameras = batch if views is not None or camera.extrinsics.shape[0] != 1 else 1
        axes = "B N row col" if views is not None else "B row col"
        check_shape(self, "camera.extrinsics", camera.extrinsics, axes, B=cameras, row=3, col=4)
        pictures = batch * (1 if views is None else views)
        if background is not None:
            check_shape(
                self,
                "background",
                background,
                "B C H W",
                B=1 if background.shape[0] == 1 else pictures,
                C=texture.shape[1],
                H=camera.height,
                W=camera.width,
            )
        if not isinstance(topology, Topology) and len(topology) != batch:
            raise ValueError(f"{type(self).__name__}: {len(topology)} topologies for {batch} samples")
        dtype = torch.float64 if vertices.dtype == torch.float64 else torch.float32
        vertices, texture = vertices.to(dtype), texture.to(dtype)
        background = None if background is None else background.to(dtype)
        with torch.autocast(vertices.device.type, enabled=False):
            if views is None and isinstance(topology, Topology):
                return self.render(vertices, texture, topology, camera, background)
            return self._render_in_turn(vertices, texture, topology, camera, background, views)

    def _render_in_turn(
        self,
        vertices: Tensor,
        texture: Tensor,
        topology: Topology | Sequence[Topology],
        camera: Camera,
        background: Tensor | None,
        views: int | None,
    ) -> Rendering:
        """As many samples at once as can be, in turn: those of one topology, and with several views of one texture."""
        batch = len(vertices)
        each = [topology] * batch if isinstance(topology, Topology) else list(topology)
        apart = views is not None and len(texture) > 1

        def alike(row: int) -> tuple[int, int | None]:
            return id(each[row]), row if apart else None

        renderings = []
        for rows in [list(rows) for _, rows in groupby(range(batch), alike)] or [[]]:
            chosen = slice(rows[0], rows[-1] + 1) if rows else slice(0, 0)
            points, cameras, behind = vertices[chosen], camera, background
            if background is not None and len(background) > 1:
                behind = background.unflatten(0, (batch, -1))[chosen].flatten(0, 1)
            if views is not None:
                points, cameras = points.repeat_interleave(views, dim=0), camera.rows(chosen).flatten()
            elif len(camera.extrinsics) > 1:
                cameras = camera.rows(chosen)
            shown = texture if len(texture) == 1 else texture[chosen]
            renderings.append(self.render(points, shown, each[rows[0]] if rows else _no_mesh(), cameras, behind))
        return joined(renderings)

    @abstractmethod
    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        """What `forward` does for one topology and as many cameras as samples, or one, in one floating type."""


def _no_mesh() -> Topology:
    corners = torch.zeros(0, 3, dtype=torch.int64)
    return Topology(corners, torch.zeros(0, 2), corners)
