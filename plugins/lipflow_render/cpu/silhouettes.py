"""Gradients of moving boundaries, silhouettes and self-occlusions, as `lipflow_render.torch_silhouettes` defines them.

A boundary can only lie where the mesh ends or folds as seen from the camera. So the edges where it does are rasterised
as lines, and a boundary is searched for only between the two pixels on both sides of such a line: in a gap.
"""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline, kernel, part
from lipflow_kit.compiled.memory import fetch

from lipflow_render.cpu.geometry import FLAT
from lipflow_render.cpu.scene import (
    DEPTH,
    END,
    FACING,
    INVERSE,
    OTHER_SIDE,
    SIDE,
    START,
    WINDING,
    Adjacency,
    Scene,
    X,
    Y,
)
from lipflow_render.definition import MAX_STEPS, TOUCHING

REACHED, CONTINUOUS, SILHOUETTE = 1, 2, 3
GAPS = 1024
"""Gaps that are processed together: they lie all over the picture, so the memory at all of them is prefetched first."""


@kernel
def boundary_gradients(scene, adjacency, image, image_gradient, coverage_gradient, corner_gradient):
    """Compute the gradients of the boundaries in one picture.

    Args:
        scene: The fields of the `Scene` as drawn.
        adjacency: The fields of its `Adjacency`.
        image: (C, H, W) as drawn; of length 0 for none.
        image_gradient: (C, H, W); of length 0 for none.
        coverage_gradient: (H, W); of length 0 for none.
        corner_gradient: (V, 3) float64, written: gradients of (X, Y, W).
    """
    scene, adjacency = Scene(*scene), Adjacency(*adjacency)
    screen, found, edges = scene.screen, scene.found, adjacency.edges
    real = screen.dtype.type
    height, width = found.shape
    corner_gradient[:] = 0
    visited = np.zeros((height, width), np.uint8)
    slack = real(FLAT)
    chosen = np.empty(edges.shape[0], np.int32)
    gaps, count = np.empty(GAPS, np.intp), 0
    for m in range(select_folded(scene.near, screen, edges, scene.facing, chosen)):
        i, j = np.uint32(edges[chosen[m], START]), np.uint32(edges[chosen[m], END])
        for axis in range(2):
            across = np.uint32(1 - axis)
            lines = height if axis == 0 else width
            places = (width if axis == 0 else height) - 1
            low, high = (i, j) if screen[i, across] < screen[j, across] else (j, i)
            start, stop = max(screen[low, across], real(-1)), min(screen[high, across], real(lines - 1))
            if not start < stop:
                continue
            # Lines of pixel centres that have `low` before them and `high` on them or behind.
            for line in range(np.int32(np.floor(start)) + 1, np.int32(np.floor(stop)) + 1):
                place, _ = cut(screen, low, high, axis, real(np.int32(line)))
                if not (place > real(-1) and place < real(places + 1)):
                    continue
                # Rounding may have moved it into the next gap.
                for gap in range(np.int32(np.floor(place - slack)), np.int32(np.floor(place + slack)) + 1):
                    if gap < 0 or gap >= places:
                        continue
                    pixel = line * width + gap if axis == 0 else gap * width + line
                    fetch(found, pixel)
                    fetch(found, pixel + (width if axis == 1 else 1))
                    gaps[count] = 2 * pixel + axis
                    count += 1
                    if count == GAPS:
                        search_gaps(
                            scene,
                            adjacency,
                            image,
                            image_gradient,
                            coverage_gradient,
                            gaps,
                            count,
                            visited,
                            corner_gradient,
                        )
                        count = 0
    search_gaps(scene, adjacency, image, image_gradient, coverage_gradient, gaps, count, visited, corner_gradient)


@part
def search_gaps(scene, adjacency, image, image_gradient, coverage_gradient, gaps, count, visited, corner_gradient):
    """Add the gradients of the boundaries in gaps that were not visited before.

    Args:
        scene, adjacency, image, image_gradient, coverage_gradient: See `boundary_gradients`.
        gaps: (≥ count,) intp, overwritten: twice the flat index of the pixel before the gap, plus 1 if the gap lies
            below that pixel and not to its right.
        count: Number of gaps.
        visited: (H, W) uint8, updated: 1 if the gap to the right was visited, 2 for that below, 3 for both.
        corner_gradient: Added to.
    """
    found, planes, sheet = scene.found, scene.planes, adjacency.sheet
    width, pixels, kept = found.shape[1], found.size, 0
    for n in range(count):
        axis = gaps[n] & 1
        row, column = gaps[n] // 2 // width, gaps[n] // 2 % width
        bit = np.uint8(1 + axis)
        here, there = found[row, column], found[row + axis, column + 1 - axis]
        if here == there or visited[row, column] & bit:
            continue
        visited[row, column] |= bit
        # Neighbours that face the same way are one sheet; else the mesh is folded along their edge.
        if here >= 0 and there >= 0 and one_sheet(sheet, planes, np.uint32(here), np.uint32(there)):
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
        add_boundary(
            scene,
            adjacency,
            image,
            image_gradient,
            coverage_gradient,
            gaps[n] // 2 // width,
            gaps[n] // 2 % width,
            gaps[n] & 1,
            corner_gradient,
        )


@inline
def select_folded(near, screen, edges, facing, chosen):
    """Find the edges beyond the near plane along which the mesh ends or folds, or may do so.

    Args:
        near, screen, facing: See `Scene`.
        edges: See `Adjacency`.
        chosen: (E,) int32, written.

    Returns:
        The number of edges in `chosen`.
    """
    count = 0
    for n in range(edges.shape[0]):
        one, other = np.uint32(edges[n, SIDE]), edges[n, OTHER_SIDE]
        if other >= 0 and facing[one] * facing[np.uint32(other)] * edges[n, WINDING] > 0:
            continue
        if screen[np.uint32(edges[n, START]), DEPTH] >= near and screen[np.uint32(edges[n, END]), DEPTH] >= near:
            chosen[count] = n
            count += 1
    return count


@inline
def one_sheet(sheet, planes, one, other):
    """Whether two triangles have an edge in common and face the same way."""
    joined = other == sheet[one, 0] or other == sheet[one, 1] or other == sheet[one, 2]
    return joined and planes[one, FACING] == planes[other, FACING]


@inline
def add_boundary(scene, adjacency, image, image_gradient, coverage_gradient, row, column, axis, corner_gradient):
    """Add the gradient of the boundary, if there is one, between a pixel and the next along an axis (0: x, 1: y)."""
    near, screen, triangles, found = scene.near, scene.screen, scene.triangles, scene.found
    adjacent = adjacency.adjacent
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
            forth_inverse = screen[forth_low, INVERSE] + forth_share * (
                screen[forth_high, INVERSE] - screen[forth_low, INVERSE]
            )
            back_inverse = screen[back_low, INVERSE] + back_share * (
                screen[back_high, INVERSE] - screen[back_low, INVERSE]
            )
            take = forth_inverse >= back_inverse
        if take:
            low, high, share = forth_low, forth_high, forth_share
    # Half of the sum over both pixels: the boundary sweeps over one of them, it is not known which.
    change = 0.0
    for c in range(image.shape[0]):
        gradient = image_gradient[c, row, column] + image_gradient[c, next_row, next_column]
        change += gradient * (image[c, row, column] - image[c, next_row, next_column])
    if coverage_gradient.shape[0] > 0:
        difference = (1.0 if here >= 0 else 0.0) - (1.0 if there >= 0 else 0.0)
        change += difference * (coverage_gradient[row, column] + coverage_gradient[next_row, next_column])
    along_x = np.float64(screen[high, X] - screen[low, X])
    along_y = np.float64(screen[high, Y] - screen[low, Y])
    squared = along_x * along_x + along_y * along_y
    if not squared > 1e-24:
        return
    change *= 0.5 * (along_y if axis == 0 else -along_x) / squared
    gx, gy = change * along_y, -change * along_x
    if np.isfinite(gx) and np.isfinite(gy):
        move(screen, low, (1 - share) * gx, (1 - share) * gy, corner_gradient)
        move(screen, high, share * gx, share * gy, corner_gradient)


@inline
def move(screen, v, gx, gy, corner_gradient):
    """Add the gradient of a vertex's pixel coordinates to that of its homogeneous ones."""
    x, y = gx * screen[v, INVERSE], gy * screen[v, INVERSE]
    corner_gradient[v, 0] += x
    corner_gradient[v, 1] += y
    corner_gradient[v, 2] -= x * screen[v, X] + y * screen[v, Y]


@inline
def cut(screen, low, high, axis, line):
    """Where a line of pixel centres cuts the edge from `low`, which lies before it, to `high`.

    Returns:
        The pixel coordinate along the line, and the share of the edge up to there.
    """
    across = np.uint32(1 - axis)
    along = np.uint32(axis)
    before, start = screen[low, across], screen[low, along]
    share = (line - before) / (screen[high, across] - before)
    return start + share * (screen[high, along] - start), share


@inline
def walk(near, screen, triangles, adjacent, start, target, axis, sign, line, place):
    """Follow the sheet of triangle `start` one pixel along an axis, as `lipflow_render.torch_silhouettes` does.

    Args:
        near, screen, triangles: See `Scene`.
        adjacent: See `Adjacency`.
        start: Triangle seen at the pixel where the walk begins, or -1.
        target: Triangle seen at the pixel where it ends, or -1.
        axis: 0 along x, 1 along y.
        sign: Direction, 1 or -1.
        line: The row that is followed, or the column.
        place: The column (or row) of the pixel where the walk begins.

    Returns:
        How the walk ended, the two vertices of the silhouette edge, and the share of that edge where the sheet ends.
    """
    real = screen.dtype.type
    nothing = np.uint32(0)
    if start < 0:
        return 0, nothing, nothing, real(0)
    line, sign = real(line), real(sign)
    goal = sign * real(place) + real(1)
    across = np.uint32(1 - axis)
    i, j, k = (np.uint32(triangles[start, 0]), np.uint32(triangles[start, 1]), np.uint32(triangles[start, 2]))
    if screen[i, DEPTH] < near or screen[j, DEPTH] < near or screen[k, DEPTH] < near:
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
        if screen[apex, DEPTH] < near:
            return 0, nothing, nothing, real(0)
        opposite = 0 if i == left_behind else (1 if j == left_behind else 2)
        low, high, exit_cut, exit_share = next_low, next_high, next_cut, next_share
    return 0, nothing, nothing, real(0)
