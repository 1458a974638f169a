"""The contract of renderers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from lipflow_core.interfaces.component import ComponentModule, check_shape
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
        topology: Topology,
        camera: Camera,
        background: Tensor | None = None,
    ) -> Rendering:
        """Draw B pictures.

        Args:
            vertices: (B, V, 3) millimetres in the frame that the camera's extrinsics map from.
            texture: (B, C, Ht, Wt), or (1, C, Ht, Wt) shared by all samples.
            topology: Triangles and texture atlas.
            camera: Leading axis (B,), or (1,) shared by all samples.
            background: (B or 1, C, H, W); black if None.

        Returns:
            Rendering of B pictures of the camera's size.
        """
        batch = vertices.shape[0]
        check_shape(self, "vertices", vertices, "B V xyz", xyz=3)
        check_shape(self, "texture", texture, "B C Ht Wt", B=1 if texture.shape[0] == 1 else batch)
        shared = camera.extrinsics.shape[0] == 1
        check_shape(self, "camera.extrinsics", camera.extrinsics, "B row col", B=1 if shared else batch, row=3, col=4)
        if background is not None:
            check_shape(
                self,
                "background",
                background,
                "B C H W",
                B=1 if background.shape[0] == 1 else batch,
                C=texture.shape[1],
                H=camera.height,
                W=camera.width,
            )
        return self.render(vertices, texture, topology, camera, background)

    @abstractmethod
    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        """What `forward` does, without its checks."""
