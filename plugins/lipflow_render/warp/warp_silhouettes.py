"""Computes gradients of moving boundaries, defined by `lipflow_render.torch_silhouettes` and docs/renderers.md."""

from typing import Any

import warp as wp

from lipflow_render import definition

REACHED = wp.constant(1)
CONTINUOUS = wp.constant(2)
SILHOUETTE = wp.constant(3)
MAX_STEPS = wp.constant(definition.MAX_STEPS)
TOUCHING = wp.constant(wp.float64(definition.TOUCHING))


@wp.func
def cut(screen: wp.array3d(dtype=Any), b: int, low: int, high: int, axis: int, line: Any):
    """Where a line of pixel centres cuts the edge from `low`, which lies before it, to `high`.

    Returns:
        The pixel coordinate along the line, and the share of the edge up to there.
    """
    before, start = screen[b, low, 1 - axis], screen[b, low, axis]
    share = (line - before) / (screen[b, high, 1 - axis] - before)
    return start + share * (screen[b, high, axis] - start), share


@wp.func
def walk(
    near: wp.float64, screen: wp.array3d(dtype=Any), triangles: wp.array2d(dtype=wp.int32),
    adjacent: wp.array2d(dtype=wp.int32), b: int, start: int, target: int, axis: int, direction: int, line_index: int,
    place: int,
):  # fmt: skip
    """Follow the sheet of triangle `start` one pixel along an axis.

    The line of pixel centres cuts a triangle's outline twice. The edges that it cuts follow from the sides of the line
    on which the corners lie, so the path from triangle to triangle does not depend on rounding.

    Args:
        near, screen, triangles, adjacent: See `edges`.
        b: Sample.
        start: Triangle seen at the pixel where the walk begins, or -1.
        target: Triangle seen at the pixel where it ends, or -1.
        axis: 0 along x, 1 along y.
        direction: 1 or -1.
        line_index: The row that is followed, or the column.
        place: The column (or row) of the pixel where the walk begins.

    Returns:
        How the walk ended, the two vertices of the silhouette edge, and the share of that edge where the sheet ends.
    """
    end, low, high, exit_share = wp.int32(0), wp.int32(0), wp.int32(0), screen.dtype(0.0)
    if start >= 0:
        i, j, k = wp.int32(triangles[start, 0]), wp.int32(triangles[start, 1]), wp.int32(triangles[start, 2])
        least, line = screen.dtype(near), screen.dtype(line_index)
        sign = screen.dtype(direction)
        goal = sign * screen.dtype(place) + screen.dtype(1.0)
        across = 1 - axis
        above_i, above_j = screen[b, i, across] >= line, screen[b, j, across] >= line
        above_k = screen[b, k, across] >= line
        known = screen[b, i, 3] >= least and screen[b, j, 3] >= least and screen[b, k, 3] >= least
        if known and not (above_i == above_j and above_j == above_k):
            # Corner `lone` is alone on its side: the line cuts the two edges that meet in it.
            lone, one, other, above = wp.int32(k), wp.int32(i), wp.int32(j), bool(above_k)
            opposite_one, opposite_other = wp.int32(1), wp.int32(0)
            if above_j == above_k:
                lone, one, other, above = wp.int32(i), wp.int32(j), wp.int32(k), above_i
                opposite_one, opposite_other = 2, 1
            elif above_i == above_k:
                lone, one, other, above = wp.int32(j), wp.int32(i), wp.int32(k), above_j
                opposite_one, opposite_other = 2, 0
            cut_one, share_one = cut(screen, b, wp.where(above, one, lone), wp.where(above, lone, one), axis, line)
            cut_other, share_other = cut(
                screen, b, wp.where(above, other, lone), wp.where(above, lone, other), axis, line
            )
            exit_cut = sign * cut_one
            exit_share = share_one
            last, opposite = wp.int32(one), wp.int32(opposite_one)
            if sign * cut_one < sign * cut_other:
                exit_cut = sign * cut_other
                exit_share = share_other
                last, opposite = wp.int32(other), wp.int32(opposite_other)
            low, high = wp.where(above, last, lone), wp.where(above, lone, last)
            current = int(start)
            for _ in range(MAX_STEPS):
                following = wp.int32(adjacent[current, opposite])
                if exit_cut >= goal:
                    end = REACHED
                    if exit_cut - goal < screen.dtype(TOUCHING) and following == target and following >= 0:
                        end = CONTINUOUS
                    break
                if following < 0:
                    end = SILHOUETTE
                    break
                if following == target:
                    end = CONTINUOUS
                    break
                current = following
                i, j, k = (
                    wp.int32(triangles[current, 0]),
                    wp.int32(triangles[current, 1]),
                    wp.int32(triangles[current, 2]),
                )
                apex = wp.where(i != low and i != high, i, wp.where(j != low and j != high, j, k))
                raised = screen[b, apex, across] >= line
                next_low, next_high = wp.where(raised, low, apex), wp.where(raised, apex, high)
                left_behind = wp.where(raised, high, low)
                next_cut, next_share = cut(screen, b, next_low, next_high, axis, line)
                next_cut = sign * next_cut
                if next_cut < exit_cut:
                    end = SILHOUETTE
                    break
                if screen[b, apex, 3] < least:
                    break
                opposite = wp.where(i == left_behind, 0, wp.where(j == left_behind, 1, 2))
                low, high = next_low, next_high
                exit_cut, exit_share = next_cut, next_share
    return end, low, high, exit_share


@wp.func
def alike(sheet: wp.array2d(dtype=wp.int32), planes: wp.array3d(dtype=Any), b: int, one: int, other: int) -> bool:
    """Whether two triangles have an edge in common and face the same way; else the mesh is folded along their edge."""
    joined = other == sheet[one, 0] or other == sheet[one, 1] or other == sheet[one, 2]
    return joined and planes[b, one, 11] == planes[b, other, 11]


def edges(
    near: wp.float64,
    screen: wp.array3d(dtype=Any),
    triangles: wp.array2d(dtype=wp.int32),
    adjacent: wp.array2d(dtype=wp.int32),
    sheet: wp.array2d(dtype=wp.int32),
    planes: wp.array3d(dtype=Any),
    image: wp.array4d(dtype=Any),
    found: wp.array3d(dtype=wp.int32),
    image_gradient: wp.array4d(dtype=Any),
    coverage_gradient: wp.array3d(dtype=Any),
    lanes: int,
    unit: wp.array1d(dtype=wp.float64),
    screen_units: wp.array3d(dtype=wp.int64),
    screen_gradient: wp.array3d(dtype=wp.float64),
):
    """Add the gradients of the boundaries between each pixel and the next in row and column; `lanes` threads per row.

    Args:
        near, screen, triangles, planes: See `warp_geometry.set_up`.
        adjacent: (F, 3), the triangle across the edge opposite each corner, -1 for none.
        sheet: (F, 3), the same where both triangles wind the same way, else -1.
        image: (B, C, H, W) as drawn.
        found: (B, H, W) as drawn.
        image_gradient: (B, C, H, W).
        coverage_gradient: (B, H, W), or none.
        lanes: How many threads divide a row.
        unit: (1,) units per 1 of a fixed-point sum; or none for a floating-point sum.
        screen_units: (B, V, 2), added to if there is a unit.
        screen_gradient: (B, V, 2), added to if there is none.
    """
    b, row, lane = wp.tid()
    for column in range(lane, found.shape[2], lanes):
        here = wp.int32(found[b, row, column])
        for axis in range(2):
            next_row, next_column = row + axis, column + 1 - axis
            if next_row >= found.shape[1] or next_column >= found.shape[2]:
                continue
            there = wp.int32(found[b, next_row, next_column])
            if here == there:
                continue
            if here >= 0 and there >= 0 and alike(sheet, planes, b, here, there):
                continue
            line, begin = wp.where(axis == 0, row, column), wp.where(axis == 0, column, row)
            forth, low, high, share = walk(near, screen, triangles, adjacent, b, here, there, axis, 1, line, begin)
            if forth == CONTINUOUS:
                continue
            back, back_low, back_high, back_share = walk(
                near, screen, triangles, adjacent, b, there, here, axis, -1, line, begin + 1
            )
            if back == CONTINUOUS or (forth != SILHOUETTE and back != SILHOUETTE):
                continue
            if back == SILHOUETTE:
                # Of two boundaries the nearer counts, which has the greater 1 / depth.
                take = forth != SILHOUETTE
                if not take:
                    mine = screen[b, low, 2] + share * (screen[b, high, 2] - screen[b, low, 2])
                    other = screen[b, back_low, 2] + back_share * (screen[b, back_high, 2] - screen[b, back_low, 2])
                    take = mine < other
                if take:
                    low, high, share = back_low, back_high, back_share
            # Half of the sum over both pixels: the boundary sweeps over one of them, it is not known which.
            change = wp.float64(0.0)
            for c in range(image.shape[1]):
                gradient = image_gradient[b, c, row, column] + image_gradient[b, c, next_row, next_column]
                change += wp.float64(gradient * (image[b, c, row, column] - image[b, c, next_row, next_column]))
            if coverage_gradient.shape[0] > 0:
                gradient = coverage_gradient[b, row, column] + coverage_gradient[b, next_row, next_column]
                change += wp.float64(gradient) * wp.float64(wp.where(here >= 0, 1, 0) - wp.where(there >= 0, 1, 0))
            along_x = wp.float64(screen[b, high, 0] - screen[b, low, 0])
            along_y = wp.float64(screen[b, high, 1] - screen[b, low, 1])
            squared = along_x * along_x + along_y * along_y
            if not squared > wp.float64(1e-24):
                continue
            change *= wp.float64(0.5) * wp.where(axis == 0, along_y, -along_x) / squared
            gx, gy = change * along_y, -change * along_x
            if not (wp.isfinite(gx) and wp.isfinite(gy)):
                continue
            part = wp.float64(share)
            rest = wp.float64(1.0) - part
            if unit.shape[0] > 0:
                wp.atomic_add(screen_units, b, low, 0, wp.int64(wp.rint(rest * gx * unit[0])))
                wp.atomic_add(screen_units, b, low, 1, wp.int64(wp.rint(rest * gy * unit[0])))
                wp.atomic_add(screen_units, b, high, 0, wp.int64(wp.rint(part * gx * unit[0])))
                wp.atomic_add(screen_units, b, high, 1, wp.int64(wp.rint(part * gy * unit[0])))
            else:
                wp.atomic_add(screen_gradient, b, low, 0, rest * gx)
                wp.atomic_add(screen_gradient, b, low, 1, rest * gy)
                wp.atomic_add(screen_gradient, b, high, 0, part * gx)
                wp.atomic_add(screen_gradient, b, high, 1, part * gy)
