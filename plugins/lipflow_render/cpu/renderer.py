"""Renderer `cpu` as a component: checks, and attributes made when they are asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_core.interfaces import Renderer
from lipflow_core.records import Camera, Rendering, Topology
from lipflow_render.lazy import LazyRendering


class CpuRenderer(Renderer):
    """Draws with fused kernels on as many threads as torch uses, the same to the bit for any number of them.

    float32 and float64 inputs are drawn in their own precision; others are drawn in float32.
    """

    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        from lipflow_render.cpu.function import Attributes, Coverage, Draw
        from lipflow_render.cpu.prepared import prepare

        for name, tensor in (("vertices", vertices), ("texture", texture), ("camera.extrinsics", camera.extrinsics)):
            if tensor.device.type != "cpu":
                raise ValueError(f"renderer 'cpu' draws tensors on the CPU; {name} is on '{tensor.device}'")
        prepared = prepare(topology.triangles, topology.uv, topology.uv_triangles)
        if vertices.shape[1] < prepared.vertices:
            raise ValueError(
                f"the topology's triangles use vertex {prepared.vertices - 1}, but only {vertices.shape[1]} are given"
            )
        dtype = torch.float64 if vertices.dtype == torch.float64 else torch.float32
        vertices, texture = vertices.to(dtype), texture.to(dtype)
        background = None if background is None else background.to(dtype)
        # In double precision whatever the inputs: rounding here would shift the whole picture by up to 1e-4 px.
        projection = camera.intrinsics.double() @ camera.extrinsics.double()
        size = (camera.height, camera.width)
        near, edges = self.config.near, self.config.edge_gradients
        image, found, screen, planes = Draw.apply(
            vertices, projection, texture, background, prepared, size, near, edges
        )

        def draw_coverage() -> Tensor:
            if not edges:
                return (found >= 0).to(dtype)
            return Coverage.apply(vertices, projection, found, screen, planes, prepared, near)

        return LazyRendering.of(
            image, draw_coverage, found, lambda: Attributes.apply(vertices, projection, found, prepared, near)
        )
