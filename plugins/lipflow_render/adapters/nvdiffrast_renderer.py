"""Renderer `nvdiffrast`: an adapter to NVIDIA's nvdiffrast as the user installed it."""

from __future__ import annotations

import threading
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from lipflow_core.interfaces import Renderer
from lipflow_core.records import Camera, Rendering, Topology
from lipflow_render.adapters.adapter_topology import AdapterTopologies, backdrop, nothing_hit
from lipflow_render.adapters.conventions import clip_points, corner_weights, seen_points, triangles_hit, upside_down
from lipflow_render.adapters.packages import NVDIFFRAST
from lipflow_render.topology import finite_uv


class NvdiffrastRenderer(Renderer):
    """Rasterises, interpolates, samples and computes gradients of boundaries with nvdiffrast, in float32.

    The picture is point-sampled as with every renderer here: of `antialias` only the gradients of boundaries are used,
    not the smoothed picture. docs/renderers.md says where they differ from those of renderer `torch`.

    Args:
        config: Its options.
        given: The inputs of its kind.
        operations: A module with the functions of nvdiffrast.torch; the installed package if None.

    Raises:
        PluginError: If nvdiffrast is not installed, or another package has its name.
    """

    def __init__(self, config, given, operations: ModuleType | None = None):
        super().__init__(config, given)
        self._operations = operations or NVDIFFRAST.load()
        make_hash = getattr(self._operations, "antialias_construct_topology_hash", lambda triangles: None)
        self._topologies = AdapterTopologies(make_hash)

    def render(
        self, vertices: Tensor, texture: Tensor, topology: Topology, camera: Camera, background: Tensor | None
    ) -> Rendering:
        operations, mesh, batch = self._operations, self._topologies.of(topology, vertices), len(vertices)
        texture = texture.float()
        behind = backdrop(texture, camera, background)
        if batch == 0 or len(mesh.triangles) == 0:
            return nothing_hit(batch, behind)

        size = (camera.height, camera.width)
        points = clip_points(seen_points(vertices, camera), self.config.near, *size).float().contiguous()
        context = _context(operations, points.device, threading.get_ident())
        raster, _ = operations.rasterize(context, points, mesh.triangles, size, grad_db=False)
        triangle = triangles_hit(raster)
        hit = (triangle >= 0)[..., None]
        corners = upside_down(finite_uv(topology.uv, vertices.device)).float().contiguous()
        uv, _ = operations.interpolate(corners[None], raster, mesh.uv_triangles)
        depth, _ = operations.interpolate(points[..., 3:].contiguous(), raster, mesh.triangles)
        texels = rearrange(texture, "b c h w -> b h w c").contiguous()
        sampled = operations.texture(texels, uv, filter_mode="linear", boundary_mode="clamp")
        image = torch.where(hit, sampled, rearrange(behind, "b c h w -> b h w c"))
        layers = torch.cat([image, hit.to(image)], dim=-1)
        if self.config.edge_gradients and points.requires_grad:
            still = layers.detach().contiguous()
            smoothed = operations.antialias(still, raster.detach(), points, mesh.triangles, mesh.extra)
            layers = layers + (smoothed - smoothed.detach())
        layers = rearrange(layers, "b h w c -> b c h w")
        return Rendering(layers[:, :-1], layers[:, -1], depth[..., 0], triangle, corner_weights(raster))


@lru_cache(maxsize=16)
def _context(operations: ModuleType, device: torch.device, thread: int) -> Any:
    """The rasteriser's state on a device: one per thread, since two threads must not draw with it at once."""
    return operations.RasterizeCudaContext(device=device)
