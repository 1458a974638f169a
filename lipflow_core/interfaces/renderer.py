"""Defines the contract of renderers."""

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

    Implement `render`. The image is sampled at pixel centres, which lie at integers. Triangles are drawn from both
    sides. The texture is sampled bilinearly, with texel centres at (i + ½) / W, and clamped at the border. Gradients of
    image and coverage with respect to geometry include the motion of silhouettes and self-occlusions.
    """

    def forward(
        self,
        vertices: Tensor,
        texture: Tensor,
        topology: Topology | Sequence[Topology],
        camera: Camera,
        background: Tensor | None = None,
    ) -> Rendering:
        """Draw a picture of each of B meshes, or N pictures of each.

        Pictures are drawn in float64 if the vertices are float64, else in float32, under autocast too.

        Args:
            vertices: (B, V, 3) millimetres in the frame that the camera's extrinsics map from.
            texture: (B, C, Ht, Wt), or (1, C, Ht, Wt) shared by all samples.
            topology: Triangles and texture atlas: one topology for all samples, or a sequence with one for each.
            camera: Cameras with leading axis (B,), (1,) if all samples share one, or (B, N) for N pictures of each.
            background: (B, C, H, W), or (B · N, C, H, W) with N pictures of each sample, or (1, C, H, W) for all
                pictures; black if None.

        Returns:
            The rendering of B pictures of the camera's size, or of B · N pictures, sample by sample.

        Raises:
            ValueError: If shapes do not fit together, or a texture has no texels.
        """
        batch = vertices.shape[0]
        check_shape(self, "vertices", vertices, "B V xyz", xyz=3)
        check_shape(self, "texture", texture, "B C Ht Wt", B=1 if texture.shape[0] == 1 else batch)
        if 0 in texture.shape[2:]:
            raise ValueError(f"{type(self).__name__}: a texture of shape {tuple(texture.shape)} has no texels")
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
            raise ValueError(
                f"{type(self).__name__}: got {len(topology)} topologies for {batch} samples; "
                "give one topology for all samples, or one for each"
            )
        dtype = torch.float64 if vertices.dtype == torch.float64 else torch.float32
        vertices, texture = vertices.to(dtype), texture.to(dtype)
        background = None if background is None else background.to(dtype)
        with torch.autocast(vertices.device.type, enabled=False):
            if views is None and isinstance(topology, Topology):
                return self.render(vertices, texture, topology, camera, background)
            return self._render_in_groups(vertices, texture, topology, camera, background, views)

    def _render_in_groups(
        self,
        vertices: Tensor,
        texture: Tensor,
        topology: Topology | Sequence[Topology],
        camera: Camera,
        background: Tensor | None,
        views: int | None,
    ) -> Rendering:
        """Render in groups: consecutive samples that share a topology and, with several views each, a texture."""
        batch = len(vertices)
        each = [topology] * batch if isinstance(topology, Topology) else list(topology)
        one_by_one = views is not None and len(texture) > 1

        def group(sample: int) -> tuple[int, int | None]:
            return id(each[sample]), sample if one_by_one else None

        renderings = []
        for samples in [list(samples) for _, samples in groupby(range(batch), group)] or [[]]:
            chosen = slice(samples[0], samples[-1] + 1) if samples else slice(0, 0)
            points, cameras, behind = vertices[chosen], camera, background
            if background is not None and len(background) > 1:
                behind = background.unflatten(0, (batch, -1))[chosen].flatten(0, 1)
            if views is not None:
                points, cameras = points.repeat_interleave(views, dim=0), camera.rows(chosen).flatten()
            elif len(camera.extrinsics) > 1:
                cameras = camera.rows(chosen)
            shown = texture if len(texture) == 1 else texture[chosen]
            mesh = each[samples[0]] if samples else _no_mesh()
            renderings.append(self.render(points, shown, mesh, cameras, behind))
        return joined(renderings)

    @abstractmethod
    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        """Draw one picture of each sample.

        Args:
            vertices: (B, V, 3), float32 or float64.
            texture: (B or 1, C, Ht, Wt), in the same precision.
            topology: Triangles and texture atlas of all samples. Their indices are not checked yet.
            camera: Cameras with leading axis (B,) or (1,), in any precision.
            background: (B or 1, C, H, W), in the precision of the vertices; black if None.

        Returns:
            The rendering of B pictures.
        """


def _no_mesh() -> Topology:
    corners = torch.zeros(0, 3, dtype=torch.int64)
    return Topology(corners, torch.zeros(0, 2), corners)
