"""nvdiffrast's functions as its documentation states them, in plain torch on any device: slow, small pictures only.

Written from the documentation and the paper (Laine et al., "Modular Primitives for High-Performance Differentiable
Rendering", 2020), to hold the adapter's conversions against. It is not nvdiffrast: the real one snaps vertices to
sixteenths of a pixel, for one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


class RasterizeCudaContext:
    """The real one holds memory on a GPU."""

    def __init__(self, device=None):
        self.device = device


def rasterize(glctx, pos: Tensor, tri: Tensor, resolution, ranges=None, grad_db=True) -> tuple[Tensor, Tensor]:
    """(B, H, W, 4) of (u, v, z/w, triangle + 1), all zero where nothing is, from clip-space positions (B, V, 4)."""
    assert isinstance(glctx, RasterizeCudaContext) and ranges is None
    _check(pos, torch.float32, 3)
    _check(tri, torch.int32, 2)
    height, width = resolution
    # Row 0 is the bottom row of the picture, where y / w is nearest to -1; the centre of pixel i is at i + ½.
    y = (2 * torch.arange(height, device=pos.device) + 1) / height - 1
    x = (2 * torch.arange(width, device=pos.device) + 1) / width - 1
    centre = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
    return torch.stack([_raster(points, tri.long(), centre) for points in pos]).view(-1, height, width, 4), None


def _raster(points: Tensor, tri: Tensor, centre: Tensor) -> Tensor:
    with torch.no_grad():
        area = _areas(points[tri][:, None], centre)
        z, w = (torch.einsum("fpi,fi->fp", area, points[tri][..., axis]) for axis in (2, 3))
        depth = z / w
        inside = ((area >= 0).all(-1) | (area <= 0).all(-1)) & (area.sum(-1).abs() > 1e-12)
        inside &= (w / area.sum(-1) > 0) & (depth >= -1) & (depth <= 1)
        nearest, triangle = torch.where(inside, depth, torch.inf).min(dim=0)
    hit = nearest < torch.inf
    corners = points[tri[triangle[hit]]]
    area = _areas(corners, centre[hit])
    weights = area / area.sum(-1, keepdim=True)
    found = torch.cat([weights[:, :2], nearest[hit, None], triangle[hit, None] + 1.0], dim=1)
    return points.new_zeros((len(centre), 4)).index_put((hit.nonzero()[:, 0],), found)


def _areas(corners: Tensor, centre: Tensor) -> Tensor:
    """(..., 3) proportional to each corner's perspective-correct weight at centres (..., 2), from (..., 3, 4)."""
    x, y = (corners[..., axis] - centre[..., axis, None] * corners[..., 3] for axis in (0, 1))
    (x0, x1, x2), (y0, y1, y2) = x.unbind(-1), y.unbind(-1)
    return torch.stack([x1 * y2 - y1 * x2, x2 * y0 - y2 * x0, x0 * y1 - y0 * x1], dim=-1)


def interpolate(attr: Tensor, rast: Tensor, tri: Tensor, rast_db=None, diff_attrs=None) -> tuple[Tensor, Tensor]:
    """(B, H, W, A) of vertex attributes (B or 1, V, A), zero where nothing is."""
    _check(attr, torch.float32, 3)
    _check(tri, torch.int32, 2)
    corners = tri.long()[(rast[..., 3].long() - 1).clamp(min=0)]
    sample = torch.arange(len(rast), device=rast.device)[:, None, None, None]
    values = attr.expand(len(rast), -1, -1)[sample, corners]
    weights = torch.stack([rast[..., 0], rast[..., 1], 1 - rast[..., 0] - rast[..., 1]], dim=-1)
    return (values * weights[..., None]).sum(-2) * (rast[..., 3:] > 0), rast.new_zeros((*rast.shape[:3], 0))


def texture(tex: Tensor, uv: Tensor, filter_mode="auto", boundary_mode="wrap") -> Tensor:
    """(B, H, W, C) of a texture (B or 1, H, W, C), whose row 0 is t = 0, at uv (B, H, W, 2)."""
    assert (filter_mode, boundary_mode) == ("linear", "clamp")
    _check(tex, torch.float32, 4)
    planes = tex.permute(0, 3, 1, 2).expand(len(uv), -1, -1, -1)
    found = grid_sample(planes, 2 * uv - 1, mode="bilinear", padding_mode="border", align_corners=False)
    return found.permute(0, 2, 3, 1)


def antialias_construct_topology_hash(tri: Tensor) -> dict[tuple[int, int], list[int]]:
    """Edge → the vertices opposite it."""
    opposite: dict[tuple[int, int], list[int]] = {}
    for triangle in tri.tolist():
        for corner in range(3):
            start, end = triangle[corner - 2], triangle[corner - 1]
            opposite.setdefault((min(start, end), max(start, end)), []).append(triangle[corner])
    return opposite


def antialias(
    color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor, topology_hash=None, pos_gradient_boost=1.0
) -> Tensor:
    """The picture with silhouettes blended between neighbouring pixels by where the edge passes between them.

    Of two neighbours that show different triangles, the nearer one's silhouette edge is sought that crosses the line
    between their centres. If it lies beyond the middle, the farther pixel is given the nearer one's colour in
    proportion; if before, the nearer is given the farther's.
    """
    _check(color, torch.float32, 4)
    edges = topology_hash or antialias_construct_topology_hash(tri)
    height, width = color.shape[1:3]
    index, depth = rast[..., 3].long() - 1, rast[..., 2]
    size = pos.new_tensor([width, height])
    pixels = (pos[..., :2] / pos[..., 3:] + 1) / 2 * size - 0.5
    result = color.clone()
    for axis, step in ((0, (0, 1)), (1, (1, 0))):
        one, other = index[:, : height - step[0], : width - step[1]], index[:, step[0] :, step[1] :]
        for b, row, column in (one != other).nonzero().tolist():
            near, far = (row, column), (row + step[0], column + step[1])
            hidden = [index[b, *place] < 0 for place in (near, far)]
            if hidden[0] or (not hidden[1] and depth[b, *far] <= depth[b, *near]):
                near, far = far, near
            crossing = _crossing(pixels[b], tri[index[b, *near]].tolist(), edges, near[::-1], far[::-1], axis)
            if crossing is None:
                continue
            blend = crossing - 0.5
            changed, towards = (far, near) if blend > 0 else (near, far)
            result[b, *changed] = result[b, *changed] + blend.abs() * (color[b, *towards] - color[b, *changed])
    return result


def _crossing(pixels: Tensor, corners: list[int], edges, near, far, axis: int) -> Tensor | None:
    """How far from `near` towards `far` a silhouette edge of a triangle passes, 0 … 1; None if none does."""
    direction = far[axis] - near[axis]
    for corner in range(3):
        start, end = pixels[corners[corner - 2]], pixels[corners[corner - 1]]
        run = end - start
        if run[1 - axis].abs() < run[axis].abs():
            continue
        ends = min(corners[corner - 2], corners[corner - 1]), max(corners[corner - 2], corners[corner - 1])
        wings = [vertex for vertex in edges[ends] if vertex != corners[corner]]
        if wings and _side(pixels[wings[0]], start, run) * _side(pixels[corners[corner]], start, run) < 0:
            continue
        along = (near[1 - axis] - start[1 - axis]) / run[1 - axis]
        distance = (start[axis] + along * run[axis] - near[axis]) * direction
        if 0 <= along <= 1 and 0 <= distance <= 1:
            return distance
    return None


def _side(point: Tensor, start: Tensor, run: Tensor) -> float:
    x, y = (point - start).tolist()
    return run[0].item() * y - run[1].item() * x


def _check(tensor: Tensor, dtype: torch.dtype, axes: int) -> None:
    assert tensor.dtype == dtype and tensor.ndim == axes and tensor.is_contiguous() and tensor.numel()
