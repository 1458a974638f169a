"""DRTK's functions as its documentation states them, in plain torch: slow, small pictures only.

Written from the documentation and the paper (Pidhorskyi et al., "Rasterized Edge Gradients", 2024), to hold the
adapter's conversions against. It is not DRTK.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rasterize(v: Tensor, vi: Tensor, height: int, width: int, wireframe: bool = False) -> Tensor:
    """(B, H, W) int32 of the nearest triangle, -1 for none, from points (B, V, 3) of column, row and depth.

    The picture's top left corner is (-½, -½).
    """
    assert vi.dtype == torch.int32 and not wireframe
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixel = torch.stack([columns, rows], dim=-1).reshape(-1, 2).to(v)
    found = []
    for points in v.detach():
        corners = points[vi.long()]
        weights, depth = _weights(corners[:, None], pixel)
        inside = (weights >= 0).all(-1) & (corners[..., 2] > 0).all(-1)[:, None]
        nearest, triangle = torch.where(inside, depth, torch.inf).min(dim=0)
        found.append(torch.where(nearest < torch.inf, triangle, -1).view(height, width))
    return torch.stack(found).int()


def render(v: Tensor, vi: Tensor, index_img: Tensor) -> tuple[Tensor, Tensor]:
    """Depth (B, H, W) and perspective-correct weights (B, 3, H, W), 0 where nothing is."""
    batch, height, width = index_img.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixel = torch.stack([columns, rows], dim=-1).to(v).expand(batch, -1, -1, -1)
    hit = index_img >= 0
    sample = hit.nonzero()[:, 0]
    weights, depth = _weights(v[sample[:, None], vi.long()[index_img[hit].long()]], pixel[hit])
    bary = v.new_zeros((batch, height, width, 3)).index_put((hit,), weights)
    return v.new_zeros((batch, height, width)).index_put((hit,), depth), bary.permute(0, 3, 1, 2)


def _weights(corners: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Perspective-correct weights (..., 3) and depth (...) at pixels (..., 2) of triangles (..., 3, 3)."""
    (x0, x1, x2), (y0, y1, y2) = ((corners[..., axis] - pixel[..., axis, None]).unbind(-1) for axis in (0, 1))
    area = torch.stack([x1 * y2 - y1 * x2, x2 * y0 - y2 * x0, x0 * y1 - y0 * x1], dim=-1)
    share = area / area.sum(-1, keepdim=True) / corners[..., 2]
    depth = 1 / share.sum(-1)
    return share * depth[..., None], depth


def interpolate(vert_attributes: Tensor, vi: Tensor, index_img: Tensor, bary_img: Tensor) -> Tensor:
    """(B, A, H, W) of vertex attributes (B, V, A); where nothing is, values that mean nothing."""
    assert vi.dtype == torch.int32
    corners = vi.long()[index_img.clamp(min=0).long()]
    sample = torch.arange(len(index_img))[:, None, None, None]
    values = (vert_attributes[sample, corners] * bary_img.permute(0, 2, 3, 1)[..., None]).sum(-2)
    return torch.where((index_img >= 0)[..., None], values, 0.7).permute(0, 3, 1, 2)


def edge_grad_estimator(v_pix: Tensor, vi: Tensor, bary_img: Tensor, img: Tensor, index_img: Tensor) -> Tensor:
    """The picture itself; its gradient reaches the points that pixels show where neighbours show different surfaces.

    Of two neighbours, the surface in front is moved by the loss as if its edge were at the pixel. Triangles of one
    surface side by side pass nothing: neither covers the other's pixel.
    """
    points = interpolate(v_pix, vi, index_img, bary_img.detach())
    return _EdgeGradient.apply(points, img, index_img, v_pix.detach(), vi)


class _EdgeGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, img, index_img, v_pix, vi):
        ctx.save_for_backward(img, index_img, v_pix, vi)
        return img.clone()

    @staticmethod
    def backward(ctx, gradient):
        img, index, v_pix, vi = ctx.saved_tensors
        batch, height, width = index.shape
        moved = torch.zeros((batch, 3, height, width), dtype=img.dtype)
        for axis, (down, right) in enumerate(((0, 1), (1, 0))):
            here = slice(None), slice(0, height - down), slice(0, width - right)
            there = slice(None), slice(down, height), slice(right, width)
            one, other = index[here], index[there]
            mean = (gradient[:, :, *here[1:]] + gradient[:, :, *there[1:]]) / 2
            slope = (mean * (img[:, :, *here[1:]] - img[:, :, *there[1:]])).sum(1)
            for b, row, column in (one != other).nonzero().tolist():
                first, second = one[b, row, column].item(), other[b, row, column].item()
                if first >= 0 and second >= 0:
                    # The one behind continues under the other's pixel; the one in front ends before it.
                    first_behind = _covers(v_pix[b], vi[first], column + right, row + down)
                    second_behind = _covers(v_pix[b], vi[second], column, row)
                    if first_behind == second_behind:
                        continue
                    first, second = (-1, second) if first_behind else (first, -1)
                if first >= 0:
                    moved[b, axis, row, column] += slope[b, row, column]
                if second >= 0:
                    moved[b, axis, row + down, column + right] += slope[b, row, column]
        return moved, gradient, None, None, None


def _covers(points: Tensor, triangle: Tensor, column: int, row: int) -> bool:
    weights, _ = _weights(points[triangle.long()], points.new_tensor([column, row]))
    return bool((weights >= 0).all())
