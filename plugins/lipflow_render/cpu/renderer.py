"""Renderer `cpu` as a component: checks, and attributes made when they are asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_core.interfaces import Renderer
from lipflow_core.interfaces.rendering import LazyRendering
from lipflow_core.records import Camera, Rendering, Topology


class CpuRenderer(Renderer):
    """Draws with fused kernels on as many threads as torch uses, the same to the bit for any number of them."""

    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        from lipflow_render.cpu import function, operators

        for name, tensor in (("vertices", vertices), ("texture", texture), ("camera.extrinsics", camera.extrinsics)):
            if tensor.device.type != "cpu":
                raise ValueError(f"renderer 'cpu' draws tensors on the CPU; {name} is on '{tensor.device}'")
        if 1 in texture.shape[2:]:  # the kernels look at two texels a side
            rows, columns = (max(side, 2) for side in texture.shape[2:])
            texture = texture.expand(-1, -1, rows, columns)
        # In double precision whatever the inputs: rounding here would shift the whole picture by up to 1e-4 px.
        projection = camera.intrinsics.double() @ camera.extrinsics.double()
        parts = topology.triangles, topology.uv, topology.uv_triangles
        near, edges = self.config.near, self.config.edge_gradients
        # To call torch's operators takes half as long as to draw a small picture: only graphs need them.
        calls = operators if torch.compiler.is_compiling() else function
        image, found, *drawn = calls.draw(
            vertices, projection, texture, background, *parts, camera.height, camera.width, near, edges
        )

        def coverage() -> Tensor:
            if not edges:
                return (found >= 0).to(vertices.dtype)
            return calls.coverage(vertices, projection, *parts, found, *drawn, near)

        def attributes() -> tuple[Tensor, Tensor]:
            return calls.attributes(vertices, projection, *parts, found, near)

        return LazyRendering.of(
            {
                "image": image,
                "coverage": coverage,
                "triangle": lambda: found.long(),
                ("depth", "barycentric"): attributes,
            },
            inputs=(vertices, camera.intrinsics, camera.extrinsics, *parts),
        )
