"""Renderer `cpu` as a component."""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_core.interfaces import Renderer
from lipflow_core.interfaces.rendering import LazyRendering
from lipflow_core.records import Camera, Rendering, Topology


class CpuRenderer(Renderer):
    """Draws with fused kernels on as many threads as torch uses.

    Pictures and gradients are the same to the bit for any number of threads.
    """

    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        for name, tensor in (("vertices", vertices), ("texture", texture), ("camera.extrinsics", camera.extrinsics)):
            if tensor.device.type != "cpu":
                raise ValueError(f"renderer 'cpu' draws tensors on the CPU; {name} is on '{tensor.device}'")
        if 1 in texture.shape[2:]:  # the kernels interpolate between two texels in both directions
            rows, columns = (max(side, 2) for side in texture.shape[2:])
            texture = texture.expand(-1, -1, rows, columns)
        # In double precision for any inputs: rounding here would shift the whole picture by up to 1e-4 px.
        projection = camera.intrinsics.double() @ camera.extrinsics.double()
        size = (camera.height, camera.width)
        if torch.compiler.is_compiling():
            return self._graphed(vertices, projection, texture, topology, size, background)
        return self._eager(vertices, projection, texture, topology, size, background)

    def _eager(
        self, vertices: Tensor, projection: Tensor, texture: Tensor, topology: Topology, size: tuple[int, int],
        background: Tensor | None,
    ) -> Rendering:  # fmt: skip
        from lipflow_render.cpu import autograd
        from lipflow_render.cpu.cpu_topology import cpu_topology

        near, boundaries = self.config.near, self.config.edge_gradients
        mesh, uv = cpu_topology(topology, vertices), topology.uv.detach()
        image, *saved = autograd.Draw.apply(vertices, projection, texture, background, mesh, uv, size, near, boundaries)
        found = saved[1]

        def coverage() -> Tensor:
            if not boundaries:
                return (found >= 0).to(vertices.dtype)
            return autograd.Coverage.apply(vertices, projection, mesh, near, *saved)

        return LazyRendering.of(
            {
                "image": image,
                "coverage": coverage,
                "triangle": lambda: found.long(),
                ("depth", "barycentric"): lambda: autograd.Attributes.apply(vertices, projection, mesh, near, *saved),
            }
        )

    def _graphed(
        self, vertices: Tensor, projection: Tensor, texture: Tensor, topology: Topology, size: tuple[int, int],
        background: Tensor | None,
    ) -> Rendering:  # fmt: skip
        """Draw as part of a graph, which eliminates what is not read."""
        from lipflow_render.cpu import cpu_operators

        near, boundaries = self.config.near, self.config.edge_gradients
        parts = topology.triangles, topology.uv, topology.uv_triangles
        image, *saved = cpu_operators.draw(vertices, projection, texture, background, *parts, *size, near, boundaries)
        given = (vertices, projection, *parts, *saved, near)
        coverage = cpu_operators.coverage(*given) if boundaries else (saved[1] >= 0).to(vertices.dtype)
        depth, barycentric = cpu_operators.attributes(*given)
        return Rendering(image, coverage, depth, saved[1].long(), barycentric)
