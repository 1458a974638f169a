"""Kernels for gradients of moving boundaries: silhouettes and self-occlusions, as `silhouettes` defines them."""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline, kernel, part
from lipflow_kit.compiled.memory import fetch

from lipflow_render.cpu.geometry import FLAT
from lipflow_render.definition import MAX_STEPS, TOUCHING

REACHED, CONTINUOUS, SILHOUETTE = 1, 2, 3
GAPS = 1024
"""Gaps between neighbouring pixels that are gone through together, so that what lies at one is fetched while others are
looked at: they lie all over the picture."""


@kernel
def undraw_edges(
    near, screen, triangles, adjacent, sheet, edges, planes, facing, image, found, image_gradient, coverage_gradient,
    seen_gradient,
):  # fmt: skip
    """Gradients of the boundaries in one picture.

    Only where the mesh ends or folds as seen from the camera can there be a boundary. So the edges where it does are
    drawn, as lines, and only between the pixels on both sides of these lines it is looked for.

    Args:
        near, screen, triangles, planes, facing: As in `geometry.set_up`.
        adjacent: (F, 3) int32, the triangle across the edge opposite each corner.
        sheet: (F, 3) int32, the same where both triangles wind the same way, else -1.
        edges: (E, 5) int32: the two vertices of each edge, the triangles on both sides of it, the second -1 at the
            mesh's border, and 1 if both wind the same way, else -1.
        image: (C, H, W) as drawn; of length 0 for none.
        found: (H, W) int32 as drawn.
        image_gradient: (C, H, W); of length 0 for none.
        coverage_gradient: (H, W); of length 0 for none.
        seen_gradient: (V, 3) float64, written: gradients of homogeneous coordinates.
    """
    real = screen.dtype.type
    height, width = found.shape
    seen_gradient[:] = 0
    visited = np.zeros((height, width), np.uint8)
    slack = real(FLAT)
    chosen = np.empty(edges.shape[0], np.int32)
    gaps, count = np.empty(GAPS, np.intp), 0
    for m in range(select_folded(near, screen, edges, facing, chosen)):
        i, j = np.uint32(edges[chosen[m], 0]), np.uint32(edges[chosen[m], 1])
        for axis in range(2):
            across = np.uint32(1 - axis)
            lines = height if axis == 0 else width
            places = (width if axis == 0 else height) - 1
            low, high = (i, j) if screen[i, across] < screen[j, across] else (j, i)
            start, stop = (max(screen[low, across], real(-1)), min(screen[high, across], real(lines - 1)))
            if not start < stop:
                continue
            # Lines of pixel centres that have `low` before them and `high` on them or behind.
            for line in range(np.int32(np.floor(start)) + 1, np.int32(np.floor(stop)) + 1):
                place, _ = cut(screen, low, high, axis, real(np.int32(line)))
                if not (place > real(-1) and place < real(places + 1)):
                    continue
                # Rounding may have put it into the next gap between pixels.
                for gap in range(np.int32(np.floor(place - slack)), np.int32(np.floor(place + slack)) + 1):
                    if gap < 0 or gap >= places:
                        continue
                    pixel = line * width + gap if axis == 0 else gap * width + line
                    fetch(found, pixel)
                    fetch(found, pixel + (width if axis == 1 else 1))
                    gaps[count] = 2 * pixel + axis
                    count += 1
                    if count == GAPS:
                        undraw_gaps(
                            near, screen, triangles, adjacent, sheet, planes, image, found, image_gradient,
                            coverage_gradient, gaps, count, visited, seen_gradient,
                        )  # fmt: skip
                        count = 0
    undraw_gaps(
        near, screen, triangles, adjacent, sheet, planes, image, found, image_gradient, coverage_gradient, gaps, count,
        visited, seen_gradient,
    )  # fmt: skip


@part
def undraw_gaps(
    near, screen, triangles, adjacent, sheet, planes, image, found, image_gradient, coverage_gradient, gaps, count,
    visited, seen_gradient,
):  # fmt: skip
    """Gradients of the boundaries in gaps between pixels, those that were visited before left out.

    Args:
        near, screen, triangles, adjacent, sheet, planes, image, found, image_gradient, coverage_gradient: As in
            `undraw_edges`.
        gaps: (≥ count,) intp: twice the flat index of the pixel before the gap, and 1 more if the next lies below it;
            overwritten.
        count: How many there are.
        visited: (H, W) uint8, updated: 1 where the gap to the right was visited, 2 for that below, 3 for both.
        seen_gradient: (V, 3) float64, added to.
    """
    width, pixels, kept = found.shape[1], found.size, 0
    for n in range(count):
        axis = gaps[n] & 1
        row, column = gaps[n] // 2 // width, gaps[n] // 2 % width
        bit = np.uint8(1 + axis)
        here, there = (found[row, column], found[row + axis, column + 1 - axis])
        if here == there or visited[row, column] & bit:
            continue
        visited[row, column] |= bit
        # Neighbours that face the same way are one sheet; else it is folded along their edge.
        if here >= 0 and there >= 0 and alike(sheet, planes, np.uint32(here), np.uint32(there)):
            continue
        for c in range(image.shape[0]):
            pixel = c * pixels + gaps[n] // 2
            fetch(image, pixel)
            fetch(image_gradient, pixel)
            fetch(image, pixel + (width if axis == 1 else 1))
            fetch(image_gradient, pixel + (width if axis == 1 else 1))
        gaps[kept] = gaps[n]
        kept += 1
    for n in range(kept):
        edge_gradient(
            near, screen, triangles, adjacent, image, found, image_gradient, coverage_gradient,
            gaps[n] // 2 // width, gaps[n] // 2 % width, gaps[n] & 1, seen_gradient,
        )  # fmt: skip


@inline
def select_folded(near, screen, edges, facing, chosen):
    """Find the edges along which the mesh ends or folds, or may do so, beyond the near plane.

    Args:
        near, screen, edges, facing: As in `undraw_edges`.
        chosen: (E,) int32, written.

    Returns:
        How many there are.
    """
    count = 0
    for n in range(edges.shape[0]):
        one, other = np.uint32(edges[n, 2]), edges[n, 3]
        if other >= 0 and facing[one] * facing[np.uint32(other)] * edges[n, 4] > 0:
            continue
        if screen[np.uint32(edges[n, 0]), 3] >= near and screen[np.uint32(edges[n, 1]), 3] >= near:
            chosen[count] = n
            count += 1
    return count


@inline
def alike(sheet, planes, one, other):
    """Whether two triangles have an edge in common and face the same way."""
    joined = other == sheet[one, 0] or other == sheet[one, 1] or other == sheet[one, 2]
    return joined and planes[one, 11] == planes[other, 11]


@inline
def edge_gradient(
    near, screen, triangles, adjacent, image, found, image_gradient, coverage_gradient, row, column, axis,
    seen_gradient,
):  # fmt: skip
    """Gradient of the boundary, if there is one, between a pixel and the next along an axis (0: x, 1: y)."""
    next_row, next_column = row + axis, column + 1 - axis
    here, there = found[row, column], found[next_row, next_column]
    line, start = (row, column) if axis == 0 else (column, row)
    forth, forth_low, forth_high, forth_share = walk(
        near, screen, triangles, adjacent, here, there, axis, 1, line, start
    )
    if forth == CONTINUOUS:
        return
    back, back_low, back_high, back_share = walk(
        near, screen, triangles, adjacent, there, here, axis, -1, line, start + 1
    )
    if back == CONTINUOUS or (forth != SILHOUETTE and back != SILHOUETTE):
        return
    low, high, share = back_low, back_high, back_share
    if forth == SILHOUETTE:
        take = back != SILHOUETTE
        if not take:
            forth_inverse = screen[forth_low, 2] + forth_share * (screen[forth_high, 2] - screen[forth_low, 2])
            back_inverse = screen[back_low, 2] + back_share * (screen[back_high, 2] - screen[back_low, 2])
            take = forth_inverse >= back_inverse
        if take:
            low, high, share = forth_low, forth_high, forth_share
    # ½ of the sum over both pixels: whichever of them the boundary sweeps over changes.
    change = 0.0
    for c in range(image.shape[0]):
        gradient = image_gradient[c, row, column] + image_gradient[c, next_row, next_column]
        change += gradient * (image[c, row, column] - image[c, next_row, next_column])
    if coverage_gradient.shape[0] > 0:
        difference = (1.0 if here >= 0 else 0.0) - (1.0 if there >= 0 else 0.0)
        change += difference * (coverage_gradient[row, column] + coverage_gradient[next_row, next_column])
    along_x = np.float64(screen[high, 0] - screen[low, 0])
    along_y = np.float64(screen[high, 1] - screen[low, 1])
    squared = along_x * along_x + along_y * along_y
    if not squared > 1e-24:
        return
    change *= 0.5 * (along_y if axis == 0 else -along_x) / squared
    gx, gy = change * along_y, -change * along_x
    if np.isfinite(gx) and np.isfinite(gy):
        move(screen, low, (1 - share) * gx, (1 - share) * gy, seen_gradient)
        move(screen, high, share * gx, share * gy, seen_gradient)


@inline
def move(screen, v, gx, gy, seen_gradient):
    """Add the gradient of a vertex' pixel coordinates to that of its homogeneous ones."""
    x, y = gx * screen[v, 2], gy * screen[v, 2]
    seen_gradient[v, 0] += x
    seen_gradient[v, 1] += y
    seen_gradient[v, 2] -= x * screen[v, 0] + y * screen[v, 1]


@inline
def cut(screen, low, high, axis, line):
    """Where a line of pixel centres cuts the edge from `low`, which lies before it, to `high`: place and share."""
    across = np.uint32(1 - axis)
    along = np.uint32(axis)
    before, start = screen[low, across], screen[low, along]
    share = (line - before) / (screen[high, across] - before)
    return start + share * (screen[high, along] - start), share


@inline
def walk(near, screen, triangles, adjacent, start, target, axis, sign, line, place):
    """Follow the sheet of triangle `start` one pixel along an axis, as `silhouettes._walk` does.

    Args:
        near, screen, triangles, adjacent: As in `undraw_edges`.
        start: Triangle seen at the pixel where the walk begins, or -1.
        target: Triangle seen where it ends, or -1.
        axis: 0 along x, 1 along y.
        sign: Direction, 1 or -1.
        line: The row walked along, or column.
        place: The column (or row) of the pixel where the walk begins.

    Returns:
        How it ended, the two vertices of the silhouette edge, and where on it the sheet ends.
    """
    real = screen.dtype.type
    nothing = np.uint32(0)
    if start < 0:
        return 0, nothing, nothing, real(0)
    line, sign = real(line), real(sign)
    goal = sign * real(place) + real(1)
    across = np.uint32(1 - axis)
    i, j, k = (np.uint32(triangles[start, 0]), np.uint32(triangles[start, 1]), np.uint32(triangles[start, 2]))
    if screen[i, 3] < near or screen[j, 3] < near or screen[k, 3] < near:
        return 0, nothing, nothing, real(0)
    above_i, above_j, above_k = (screen[i, across] >= line, screen[j, across] >= line, screen[k, across] >= line)
    if above_i == above_j and above_j == above_k:
        return 0, nothing, nothing, real(0)
    # Corner `lone` is alone on its side: the line cuts the two edges that meet in it.
    if above_j == above_k:
        lone, one, other, opposite_one, opposite_other, above = i, j, k, 2, 1, above_i
    elif above_i == above_k:
        lone, one, other, opposite_one, opposite_other, above = j, i, k, 2, 0, above_j
    else:
        lone, one, other, opposite_one, opposite_other, above = k, i, j, 1, 0, above_k
    cut_one, share_one = cut(screen, one if above else lone, lone if above else one, axis, line)
    cut_other, share_other = cut(screen, other if above else lone, lone if above else other, axis, line)
    if sign * cut_one >= sign * cut_other:
        end, exit_cut, exit_share, opposite = (one, sign * cut_one, share_one, opposite_one)
    else:
        end, exit_cut, exit_share, opposite = (other, sign * cut_other, share_other, opposite_other)
    low, high = (end, lone) if above else (lone, end)
    current = np.uint32(start)
    for _ in range(MAX_STEPS):
        following = adjacent[current, opposite]
        if exit_cut >= goal:
            touching = exit_cut - goal < TOUCHING and following == target and following >= 0
            return (CONTINUOUS if touching else REACHED), low, high, exit_share
        if following < 0:
            return SILHOUETTE, low, high, exit_share
        if following == target:
            return CONTINUOUS, low, high, exit_share
        current = np.uint32(following)
        i, j, k = (np.uint32(triangles[current, 0]), np.uint32(triangles[current, 1]), np.uint32(triangles[current, 2]))
        if i != low and i != high:
            apex = i
        elif j != low and j != high:
            apex = j
        else:
            apex = k
        if screen[apex, across] >= line:
            next_low, next_high, left_behind = low, apex, high
        else:
            next_low, next_high, left_behind = apex, high, low
        next_cut, next_share = cut(screen, next_low, next_high, axis, line)
        next_cut *= sign
        if next_cut < exit_cut:
            return SILHOUETTE, low, high, exit_share
        if screen[apex, 3] < near:
            return 0, nothing, nothing, real(0)
        opposite = 0 if i == left_behind else (1 if j == left_behind else 2)
        low, high, exit_cut, exit_share = next_low, next_high, next_cut, next_share
    return 0, nothing, nothing, real(0)
