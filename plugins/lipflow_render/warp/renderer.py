"""Renderer `warp` as a component: checks, and what is kept per topology."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lipflow_core.interfaces import Renderer
from lipflow_core.records import Camera, Rendering, Topology
from lipflow_render.cpu.renderer import LazyRendering
from lipflow_render.topology import corners_at_vertices, neighbours, wind_alike


@dataclass(frozen=True)
class PreparedTopology:
    """A topology as the kernels take it, on their device.

    Args:
        triangles: (F, 3) int32.
        adjacent: (F, 3) int32, the triangle across the edge opposite each corner, -1 for none.
        sheet: (F, 3) int32, the same where both triangles wind the same way, else -1.
        corners: (F, 6) float64, u and v of each corner.
        starts: (V' + 1,) int32, where the corners at each of the vertices in use begin in `members`.
        members: (3 F,) int32, corners (3 · triangle + corner) vertex by vertex.
    """

    triangles: Tensor
    adjacent: Tensor
    sheet: Tensor
    corners: Tensor
    starts: Tensor
    members: Tensor


class WarpRenderer(Renderer):
    """Draws with Warp's kernels on the device of its inputs, in order with torch and without waiting for it.

    float32 and float64 inputs are drawn in their own precision; others are drawn in float32.
    """

    KEPT_TOPOLOGIES = 8

    def __init__(self, config, given):
        super().__init__(config, given)
        self._prepared: OrderedDict[tuple, tuple[Topology, PreparedTopology]] = OrderedDict()

    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        from lipflow_render.warp.function import draw, draw_attributes

        device = vertices.device
        if device.type not in self.config.devices:
            raise ValueError(f"renderer 'warp' draws on the CPU and on CUDA devices; vertices are on '{device}'")
        for name, tensor in (("texture", texture), ("camera.extrinsics", camera.extrinsics)):
            if tensor.device != device:
                raise ValueError(f"vertices are on '{device}', but {name} is on '{tensor.device}'")
        prepared = self._prepare(topology, device)
        if vertices.shape[1] < len(prepared.starts) - 1:
            raise ValueError(
                f"the topology's triangles use vertex {len(prepared.starts) - 2}, "
                f"but only {vertices.shape[1]} are given"
            )
        dtype = torch.float64 if vertices.dtype == torch.float64 else torch.float32
        vertices, texture = vertices.to(dtype), texture.to(dtype)
        background = None if background is None else background.to(dtype)
        # In double precision whatever the inputs: rounding here would shift the whole picture by up to 1e-4 px.
        projection = camera.intrinsics.double() @ camera.extrinsics.double()
        near, size = self.config.near, (camera.height, camera.width)
        image, coverage, found, *drawn = draw(
            vertices, projection, texture, background, prepared, size, near, self.config.edge_gradients
        )
        return LazyRendering.of(
            image, coverage, found, lambda: draw_attributes(vertices, projection, found, *drawn, prepared, near)
        )

    def _prepare(self, topology: Topology, device: torch.device) -> PreparedTopology:
        parts = (topology.triangles, topology.uv, topology.uv_triangles)
        key = (device, *((id(part), 0 if part.is_inference() else part._version) for part in parts))
        if key in self._prepared:
            self._prepared.move_to_end(key)
            return self._prepared[key][1]
        triangles, uv, uv_triangles = (part.detach().cpu().numpy() for part in parts)
        if triangles.shape != uv_triangles.shape:
            raise ValueError(f"topology has {len(triangles)} triangles but {len(uv_triangles)} uv triangles")
        for name, index, limit in (("triangles", triangles, 2**31), ("uv_triangles", uv_triangles, len(uv))):
            if index.size and (index.min() < 0 or index.max() >= limit):
                raise ValueError(f"topology.{name} has indices outside 0 … {limit - 1}")
        if not np.isfinite(uv).all():
            raise ValueError("topology.uv holds NaN or infinity")
        adjacent = neighbours(triangles)
        starts, members = corners_at_vertices(triangles)
        tables = {
            "triangles": triangles.astype(np.int32),
            "adjacent": adjacent,
            "sheet": np.where(wind_alike(triangles, adjacent), adjacent, -1).astype(np.int32),
            "corners": uv[uv_triangles].reshape(-1, 6).astype(np.float64),
            "starts": starts,
            "members": members,
        }
        prepared = PreparedTopology(**{name: torch.from_numpy(table).to(device) for name, table in tables.items()})
        # The topology is kept beside it: while it lives, no other tensor can have its id.
        self._prepared[key] = (topology, prepared)
        if len(self._prepared) > self.KEPT_TOPOLOGIES:
            self._prepared.popitem(last=False)
        return prepared
