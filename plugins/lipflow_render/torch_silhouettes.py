"""Gradients of moving boundaries for renderer `torch`; docs/renderers.md derives them.

A point-sampled picture jumps where the boundary of a nearer surface sweeps over a pixel, and autograd does not see
jumps. So where neighbouring pixels p and q show different triangles, the sheet of surface that p shows is followed
towards q, from triangle to triangle, until it reaches q or ends at a silhouette edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lipflow_render.definition import MAX_STEPS, TOUCHING

_REACHED, _CONTINUOUS, _SILHOUETTE = 1, 2, 3


@dataclass
class _Walk:
    """How following a sheet ended, for M pairs of pixels.

    Attributes:
        end: (M,) `_REACHED` if the sheet covers the other pixel, where it is hidden; `_CONTINUOUS` if the other pixel
            shows it; `_SILHOUETTE` if it ends in between; 0 if none of these was found.
        edge: (M, 2) vertices of the silhouette edge.
        share: (M,) share of that edge, from its first vertex, where the sheet ends.
    """

    end: Tensor
    edge: Tensor
    share: Tensor


def edge_term(
    layers: Tensor, seen: Tensor, triangle: Tensor, triangles: Tensor, adjacent: Tensor, sheet: Tensor, near: float
) -> Tensor:
    """Compute a term of value 0 whose gradient is that of moving boundaries.

    Args:
        layers: (B, C, H, W) values of each pixel, without gradient.
        seen: (B, V, 3) homogeneous pixel coordinates of the vertices.
        triangle: (B, H, W) the triangle at each pixel, -1 for none.
        triangles: (F, 3).
        adjacent: (F, 3) the triangle across the edge opposite each corner, -1 for none.
        sheet: (F, 3) the same where both triangles wind the same way, else -1.
        near: Depth of the near plane in millimetres; sheets are not followed through triangles that cross it.

    Returns:
        (B, C, H, W) zeros.
    """
    batch, channels, height, width = layers.shape
    screen = seen[..., :2] / torch.where(seen[..., 2:] < near, torch.ones_like(seen[..., 2:]), seen[..., 2:])
    values = layers.permute(0, 2, 3, 1).reshape(-1, channels)
    term = torch.zeros_like(values)
    flat = triangle.reshape(-1)
    for axis, step in ((0, 1), (1, width)):
        one, other = _pairs(triangle, axis, step)
        sample = one // (height * width)
        pixel = torch.stack([one % width, one // width % height], dim=-1).to(seen.dtype)
        with torch.no_grad():
            parted = ~_one_sheet(seen, sample, flat[one], flat[other], triangles, sheet)
            one, other, sample, pixel = one[parted], other[parted], sample[parted], pixel[parted]
            edge, share, found = _boundary(
                screen, seen[..., 2], sample, pixel, axis, flat[one], flat[other], triangles, adjacent, near
            )
        one, other, sample, edge, share = one[found], other[found], sample[found], edge[found], share[found]
        ends = screen[sample[:, None], edge]
        point = ends[:, 0] + share[:, None] * (ends[:, 1] - ends[:, 0])
        along = (ends[:, 1] - ends[:, 0]).detach()
        normal = torch.stack([along[:, 1], -along[:, 0]], dim=-1)
        normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        motion = normal[:, axis] * torch.einsum("mi,mi->m", normal, point)
        change = 0.5 * (values[one] - values[other]) * (motion - motion.detach())[:, None]
        term = term.index_add(0, one, change).index_add(0, other, change)
    return term.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _pairs(triangle: Tensor, axis: int, step: int) -> tuple[Tensor, Tensor]:
    """Flat indices of the neighbouring pixels along an axis (0: x, 1: y) that show different triangles."""
    lines = triangle if axis == 0 else triangle.transpose(1, 2)
    differs = lines[:, :, 1:] != lines[:, :, :-1]
    differs = differs if axis == 0 else differs.transpose(1, 2)
    sample, row, column = differs.nonzero(as_tuple=True)
    one = (sample * triangle.shape[1] + row) * triangle.shape[2] + column
    return one, one + step


def _one_sheet(seen, sample, one, other, triangles, sheet):
    """Whether triangles have an edge in common and face the same way; else the mesh is folded along their edge."""

    def facing(triangle):
        return torch.linalg.det(seen[sample[:, None], triangles[triangle.clamp(min=0)]]) > 0

    joined = (sheet[one.clamp(min=0)] == other[:, None]).any(dim=1) & (one >= 0) & (other >= 0)
    return joined & (facing(one) == facing(other))


def _boundary(screen, depth, sample, pixel, axis, here, there, triangles, adjacent, near):
    """Find the silhouette edge between the pixels of each pair: vertices (M, 2), share (M,), whether there is one."""
    follow = {"screen": screen, "depth": depth, "triangles": triangles, "adjacent": adjacent, "near": near}
    forth = _walk(sample, pixel, axis, 1.0, here, there, **follow)
    beyond = pixel.clone()
    beyond[:, axis] += 1
    back = _walk(sample, beyond, axis, -1.0, there, here, **follow)
    depth_forth, depth_back = (_depth_on_edge(depth, sample, walk) for walk in (forth, back))
    take_forth = (forth.end == _SILHOUETTE) & ((back.end != _SILHOUETTE) | (depth_forth <= depth_back))
    edge = torch.where(take_forth[:, None], forth.edge, back.edge)
    share = torch.where(take_forth, forth.share, back.share)
    found = (take_forth | (back.end == _SILHOUETTE)) & (forth.end != _CONTINUOUS) & (back.end != _CONTINUOUS)
    return edge, share, found


def _depth_on_edge(depth: Tensor, sample: Tensor, walk: _Walk) -> Tensor:
    ends = depth[sample[:, None], walk.edge]
    return 1 / torch.lerp(1 / ends[:, 0], 1 / ends[:, 1], walk.share)


def _walk(sample, pixel, axis, sign, start, target, *, screen, depth, triangles, adjacent, near) -> _Walk:
    """Follow the sheet of triangle `start`, seen at `pixel`, one pixel along an axis towards `target`.

    The line of pixel centres cuts a triangle's outline twice. The edges that it cuts follow from the sides of the line
    on which the corners lie, so the path from triangle to triangle does not depend on rounding.
    """
    count = len(start)
    walk = _Walk(start.new_zeros(count), start.new_zeros((count, 2)), pixel.new_zeros(count))
    line, goal = pixel[:, 1 - axis], sign * pixel[:, axis] + 1

    def place(index, low, high):
        """Place along the line, and share of the edge, where it cuts the edge from `low`, before it, to `high`."""
        one, other = screen[sample[index], low], screen[sample[index], high]
        share = (line[index] - one[:, 1 - axis]) / (other[:, 1 - axis] - one[:, 1 - axis])
        return sign * (one[:, axis] + share * (other[:, axis] - one[:, axis])), share

    index = (start >= 0).nonzero().squeeze(1)
    current = start[index]
    # The exit is the farther of the two cuts.
    low = high = cut = share = None
    for corner in range(3):
        one, other = triangles[current, (corner + 1) % 3], triangles[current, (corner + 2) % 3]
        one_above = screen[sample[index], one, 1 - axis] >= line[index]
        other_above = screen[sample[index], other, 1 - axis] >= line[index]
        first, second = torch.where(one_above, other, one), torch.where(one_above, one, other)
        here, part = place(index, first, second)
        here = torch.where(one_above != other_above, here, -torch.inf)
        if cut is None:
            low, high, cut, share, opposite = first, second, here, part, torch.full_like(current, corner)
        else:
            better = here > cut
            low, high = torch.where(better, first, low), torch.where(better, second, high)
            cut, share = torch.where(better, here, cut), torch.where(better, part, share)
            opposite = torch.where(better, corner, opposite)
    valid = (depth[sample[index][:, None], triangles[current]] >= near).all(dim=1) & cut.isfinite()
    state = [index, current, low, high, cut, share, opposite]
    state = [item[valid] for item in state]
    for _ in range(MAX_STEPS):
        index, current, low, high, cut, share, opposite = state
        if not len(index):
            break
        following = adjacent[current, opposite]
        beyond = cut >= goal[index]
        near_miss = beyond & (cut - goal[index] < TOUCHING) & (following == target[index]) & (following >= 0)
        walk.end[index[beyond]] = _REACHED
        walk.end[index[near_miss]] = _CONTINUOUS
        border = ~beyond & (following < 0)
        same = ~beyond & (following >= 0) & (following == target[index])
        walk.end[index[same]] = _CONTINUOUS
        apex = triangles[following.clamp(min=0)].sum(dim=1) - low - high
        apex = torch.where(following >= 0, apex, low)
        above = screen[sample[index], apex, 1 - axis] >= line[index]
        next_low, next_high = torch.where(above, low, apex), torch.where(above, apex, high)
        next_cut, next_share = place(index, next_low, next_high)
        fold = ~beyond & ~border & ~same & (next_cut < cut)
        ends = border | fold
        walk.end[index[ends]] = _SILHOUETTE
        walk.edge[index[ends]] = torch.stack([low, high], dim=-1)[ends]
        walk.share[index[ends]] = share[ends]
        left_behind = torch.where(above, high, low)
        opposite = (triangles[following.clamp(min=0)] == left_behind[:, None]).long().argmax(dim=1)
        go_on = ~(beyond | ends | same) & (depth[sample[index], apex] >= near)
        state = [index, following, next_low, next_high, next_cut, next_share, opposite]
        state = [item[go_on] for item in state]
    return walk
