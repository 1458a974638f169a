"""Renderer `warp` as a component."""

from __future__ import annotations

from torch import Tensor

from lipflow_core.interfaces import Renderer
from lipflow_core.interfaces.rendering import LazyRendering
from lipflow_core.records import Camera, Rendering, Topology
from lipflow_render.warp import warp_operators


class WarpRenderer(Renderer):
    """Draws with Warp's kernels on the device of its inputs, on torch's stream and without waiting for the device."""

    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        device = vertices.device
        # A copy: parts that are read late must not see a later change of the vertices in place.
        vertices = vertices.clone()
        if device.type not in self.config.devices:
            raise ValueError(f"renderer 'warp' draws on the CPU and on CUDA devices; vertices are on '{device}'")
        for name, tensor in (("texture", texture), ("camera.extrinsics", camera.extrinsics)):
            if tensor.device != device:
                raise ValueError(f"vertices are on '{device}', but {name} is on '{tensor.device}'")
        # In double precision for any inputs: rounding here would shift the whole picture by up to 1e-4 px. Not a matrix
        # product, which cuBLAS refuses when torch is told to be deterministic.
        projection = (camera.intrinsics.double()[..., None] * camera.extrinsics.double()[:, None]).sum(dim=2)
        parts, near = (topology.triangles, topology.uv, topology.uv_triangles), self.config.near
        image, coverage, found, screen, _, bounds, visible = warp_operators.draw(
            vertices, projection, texture, background, *parts, camera.height, camera.width, near,
            self.config.edge_gradients,
        )  # fmt: skip

        def attributes() -> tuple[Tensor, Tensor]:
            return warp_operators.attributes(vertices, projection, *parts, found, screen, bounds, visible, near)

        return LazyRendering.of(
            {
                "image": image,
                "coverage": coverage,
                "triangle": lambda: found.long(),
                ("depth", "barycentric"): attributes,
            },
            inputs=(topology.triangles, topology.uv_triangles),
        )
