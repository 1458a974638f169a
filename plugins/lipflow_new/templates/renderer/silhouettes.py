"""What autograd does not see: pixels that change because the edge of a surface moves over them."""

from __future__ import annotations

import torch
from torch import Tensor


def silhouette_term(layers: Tensor, screen: Tensor, depth: Tensor, triangle: Tensor, triangles: Tensor) -> Tensor:
    """A term of value 0 whose gradient is that of moving silhouettes.

    Where neighbouring pixels show surfaces that do not touch, the nearer triangle ends between them. An edge with
    normal n that moves by d sweeps n·d of area per unit of its length; it crosses |n_x| rows and |n_y| columns of pixel
    pairs per unit, so each pair counts its axis' share of that, times the step between the two pixels.

    Args:
        layers: (B, C, H, W) what is seen.
        screen: (B, V, 2) pixel coordinates of the vertices.
        depth: (B, H, W), 0 where nothing is seen.
        triangle: (B, H, W), −1 where nothing is seen.
        triangles: (F, 3).
    """
    batch, channels, height, width = layers.shape
    values = layers.detach().permute(0, 2, 3, 1).reshape(-1, channels)
    term = torch.zeros_like(values)
    seen, far = triangle.reshape(-1), torch.where(triangle < 0, torch.inf, depth.detach()).reshape(-1)
    for axis, step in ((0, 1), (1, width)):
        one = _first_of_pairs(triangle, axis)
        one = one[~_touch(seen[one], seen[one + step], triangles)]
        front = torch.where(far[one] <= far[one + step], one, one + step)
        sample = one // (height * width)
        pixel = torch.stack([front % width, front // width % height], dim=-1).to(screen.dtype)
        towards = torch.where(front == one, 1.0, -1.0).to(screen.dtype)
        ends, share, found = _exit(screen, sample, pixel, towards, axis, triangles[seen[front]])
        one, ends, share = one[found], ends[found], share[found]
        point = torch.lerp(ends[:, 0], ends[:, 1], share[:, None])
        along = (ends[:, 1] - ends[:, 0]).detach()
        normal = torch.stack([along[:, 1], -along[:, 0]], dim=-1)
        normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        motion = normal[:, axis] * (normal * (point - point.detach())).sum(-1)
        change = 0.5 * (values[one] - values[one + step]) * motion[:, None]
        term = term.index_add(0, one, change).index_add(0, one + step, change)
    return term.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _first_of_pairs(triangle: Tensor, axis: int) -> Tensor:
    """Flat indices of pixels whose right (axis 0) or lower (axis 1) neighbour shows another triangle."""
    first = torch.zeros_like(triangle, dtype=torch.bool)
    if axis == 0:
        first[:, :, :-1] = triangle[:, :, 1:] != triangle[:, :, :-1]
    else:
        first[:, :-1] = triangle[:, 1:] != triangle[:, :-1]
    return first.reshape(-1).nonzero()[:, 0]


def _touch(one: Tensor, other: Tensor, triangles: Tensor) -> Tensor:
    """Whether triangles share a vertex, so that the surface goes on from one to the other."""
    shared = (triangles[one][:, :, None] == triangles[other][:, None, :]).any(-1).any(-1)
    return shared & (one >= 0) & (other >= 0)


def _exit(
    screen: Tensor, sample: Tensor, pixel: Tensor, towards: Tensor, axis: int, corners: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the line from a pixel along an axis leaves the triangle seen there.

    Returns:
        Ends of the edge that it crosses (M, 2, 2), the crossing's place on that edge (M,), and whether it lies before
        the next pixel (M,).
    """
    start = screen[sample[:, None], corners]
    end = start.roll(-1, dims=1)
    with torch.no_grad():
        before, after = (points[..., 1 - axis] - pixel[:, None, 1 - axis] for points in (start, end))
        crosses = (before >= 0) != (after >= 0)
        share = before / torch.where(crosses, before - after, 1.0)
        place = torch.lerp(start[..., axis], end[..., axis], share) - pixel[:, None, axis]
        place = torch.where(crosses, place * towards[:, None], -torch.inf)
        farthest, edge = place.max(dim=1)
        found = (farthest >= -1e-3) & (farthest <= 1 + 1e-3)
    row = torch.arange(len(edge), device=edge.device)
    return torch.stack([start[row, edge], end[row, edge]], dim=1), share[row, edge], found
