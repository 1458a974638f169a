"""Renderer `drtk`: an adapter to Meta's DRTK as the user installed it."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from lipflow_core.interfaces import Renderer
from lipflow_core.records import Camera, Rendering, Topology
from lipflow_render.adapters.adapter_topology import AdapterTopologies, backdrop, nothing_hit
from lipflow_render.adapters.conventions import drtk_points, sampling_grid, seen_points
from lipflow_render.adapters.packages import DRTK
from lipflow_render.topology import finite_uv


class DrtkRenderer(Renderer):
    """Rasterises, interpolates and computes gradients of boundaries with DRTK; samples the texture with torch.

    docs/renderers.md says where DRTK's definition differs from that of renderer `torch`.

    Args:
        config: Its options.
        given: The inputs of its kind.
        operations: A module with DRTK's functions; the installed DRTK if None.

    Raises:
        PluginError: If DRTK is not installed, or another package has its name.
    """

    def __init__(self, config, given, operations: ModuleType | None = None):
        super().__init__(config, given)
        self._drtk = operations or DRTK.load()
        self._topologies = AdapterTopologies()

    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        drtk, mesh, batch = self._drtk, self._topologies.of(topology, vertices), len(vertices)
        dtype = vertices.dtype
        behind = backdrop(texture, camera, background)
        if batch == 0 or len(mesh.triangles) == 0:
            return nothing_hit(batch, behind)

        points = drtk_points(seen_points(vertices, camera), self.config.near).to(dtype)
        index = drtk.rasterize(points, mesh.triangles, camera.height, camera.width)
        hit = index >= 0
        depth, barycentric = drtk.render(points, mesh.triangles, index)
        uv = sampling_grid(finite_uv(topology.uv, vertices.device)).to(dtype).expand(batch, -1, -1)
        place = drtk.interpolate(uv, mesh.uv_triangles, index, barycentric)
        sampled = grid_sample(
            texture.expand(batch, -1, -1, -1),
            place.permute(0, 2, 3, 1),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        image, coverage = torch.where(hit[:, None], sampled, behind), hit.to(dtype)
        if self.config.edge_gradients and points.requires_grad:
            layers = torch.cat([image, coverage[:, None]], dim=1)
            layers = drtk.edge_grad_estimator(points, mesh.triangles, barycentric, layers, index)
            image, coverage = layers[:, :-1], layers[:, -1]
        return Rendering(image, coverage, depth, index.long(), barycentric)
