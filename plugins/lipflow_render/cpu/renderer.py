"""Renderer `cpu` as a component: checks, lazily made attributes, and what is kept per topology."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lipflow_core.interfaces import Renderer
from lipflow_core.records import Camera, Rendering, Topology
from lipflow_render.topology import neighbours, wind_alike


@dataclass(frozen=True)
class PreparedTopology:
    """A topology as the kernels take it.

    Args:
        triangles: (F, 3) int32.
        adjacent: (F, 3) int32, the triangle across the edge opposite each corner, -1 for none.
        sheet: (F, 3) int32, the same where both triangles wind the same way, else -1.
        corners: dtype → (F, 6) u and v of each corner.
        vertices: One more than the highest vertex index.
    """

    triangles: np.ndarray
    adjacent: np.ndarray
    sheet: np.ndarray
    corners: dict[np.dtype, np.ndarray]
    vertices: int


class LazyRendering(Rendering):
    """A rendering whose depth, corner weights and triangle indices are made when they are asked for."""

    @classmethod
    def of(cls, image: Tensor, coverage: Tensor, found: Tensor, draw_attributes) -> LazyRendering:
        """A rendering from what is drawn at once, and a function that makes (depth, barycentric)."""
        rendering = cls.__new__(cls)
        rendering.__dict__.update(image=image, coverage=coverage, _found=found, _draw_attributes=draw_attributes)
        return rendering

    @cached_property
    def triangle(self) -> Tensor:
        return self._found.long()

    @cached_property
    def _attributes(self) -> tuple[Tensor, Tensor]:
        return self._draw_attributes()

    @cached_property
    def depth(self) -> Tensor:
        return self._attributes[0]

    @cached_property
    def barycentric(self) -> Tensor:
        return self._attributes[1]

    def apply(self, function) -> Rendering:
        return Rendering(**{f.name: function(getattr(self, f.name)) for f in fields(Rendering)})


class CpuRenderer(Renderer):
    """Draws with fused kernels on as many threads as torch uses, the same to the bit for any number of them.

    float32 and float64 inputs are drawn in their own precision; others are drawn in float32.
    """

    KEPT_TOPOLOGIES = 8

    def __init__(self, config, given):
        super().__init__(config, given)
        self._prepared: OrderedDict[tuple, tuple[Topology, PreparedTopology]] = OrderedDict()

    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        from lipflow_render.cpu.function import draw, draw_attributes

        for name, tensor in (("vertices", vertices), ("texture", texture), ("camera.extrinsics", camera.extrinsics)):
            if tensor.device.type != "cpu":
                raise ValueError(f"renderer 'cpu' draws tensors on the CPU; {name} is on '{tensor.device}'")
        prepared = self._prepare(topology)
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
        image, coverage, found = draw(vertices, projection, texture, background, prepared, size, near, edges)
        return LazyRendering.of(
            image, coverage, found, lambda: draw_attributes(vertices, projection, found, prepared, near)
        )

    def _prepare(self, topology: Topology) -> PreparedTopology:
        parts = (topology.triangles, topology.uv, topology.uv_triangles)
        key = tuple((id(part), 0 if part.is_inference() else part._version) for part in parts)
        if key in self._prepared:
            self._prepared.move_to_end(key)
            return self._prepared[key][1]
        triangles, uv, uv_triangles = (part.detach().cpu().numpy() for part in parts)
        if triangles.shape != uv_triangles.shape:
            raise ValueError(f"topology has {len(triangles)} triangles but {len(uv_triangles)} uv triangles")
        for name, index, limit in (("triangles", triangles, 2**31), ("uv_triangles", uv_triangles, len(uv))):
            if index.size and (index.min() < 0 or index.max() >= limit):
                raise ValueError(f"topology.{name} has indices outside 0 … {limit - 1}")
        if not np.isfinite(uv).all():  # the kernels turn uv into texel indices, and NaN into any
            raise ValueError("topology.uv holds NaN or infinity")
        corners = uv[uv_triangles].reshape(-1, 6)
        adjacent = neighbours(triangles)
        prepared = PreparedTopology(
            triangles=np.ascontiguousarray(triangles, np.int32),
            adjacent=adjacent,
            sheet=np.where(wind_alike(triangles, adjacent), adjacent, -1).astype(np.int32),
            corners={np.dtype(kind): np.ascontiguousarray(corners, kind) for kind in (np.float32, np.float64)},
            vertices=int(triangles.max()) + 1 if triangles.size else 0,
        )
        # The topology is kept beside it: while it lives, no other tensor can have its id.
        self._prepared[key] = (topology, prepared)
        if len(self._prepared) > self.KEPT_TOPOLOGIES:
            self._prepared.popitem(last=False)
        return prepared
