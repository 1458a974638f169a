"""Kernels that carry gradients from pictures back to triangles, textures and backgrounds."""

from __future__ import annotations

import numpy as np

from lipflow_render.cpu.geometry import SLIVER, homogeneous
from lipflow_render.cpu.jit import inline, kernel
from lipflow_render.cpu.raster import end_of_cover, end_of_run, locate

MAX_STEPS = 32
TOUCHING = 1e-3
REACHED, CONTINUOUS, SILHOUETTE = 1, 2, 3


@kernel
def undraw(
    near, screen, triangles, adjacent, sheet, planes, texels, texture, channels, image, found, rows,
    places, shares, slopes, image_gradient, coverage_gradient, sums, texture_gradient, background_gradient,
    screen_gradient,
):  # fmt: skip
    """Gradients of some rows of one picture.

    Args:
        near, screen, triangles, planes: As in `set_up`.
        adjacent: (F, 3) int32, the triangle across the edge opposite each corner.
        sheet: (F, 3) int32, the same where both triangles wind the same way, else -1.
        texels: Width and height of the texture.
        texture: (C, Ht · Wt).
        channels: A tuple of length C.
        image: (C, H, W) as drawn.
        found: (H, W) int32 as drawn.
        rows: First row, and the row after the last; pairs of a row and the next belong to the first of them.
        places: (W,) int32 scratch.
        shares: (2, W) scratch.
        slopes: (2, W) scratch.
        image_gradient: (C, H, W).
        coverage_gradient: (H, W); or (0, 0) for none.
        sums: (F, 9), added to: see `triangles_to_seen`; of length 0 if not wanted.
        texture_gradient: (C, Ht · Wt), added to; of length 0 if not wanted.
        background_gradient: (C, H, W), rows written; of length 0 if not wanted.
        screen_gradient: (V, 2) float64, added to; of length 0 if edges shall pass no gradient.
    """
    real = screen.dtype.type
    height, width = found.shape
    wants_sums, wants_texture = sums.shape[0] > 0, texture_gradient.shape[0] > 0
    wants_background, wants_edges = background_gradient.shape[0] > 0, screen_gradient.shape[0] > 0
    right, down = np.uint32(1 if texels[0] > 1 else 0), np.uint32(texels[0] if texels[1] > 1 else 0)
    for row in range(rows[0], rows[1]):
        line = found[row]
        if wants_background:
            for c in range(len(channels)):
                for x in range(width):
                    background_gradient[c, row, x] = image_gradient[c, row, x] if line[x] < 0 else real(0)
        if wants_edges:
            for axis in range(2 if row + 1 < height else 1):
                other = found[row + axis, 1 - axis :]
                for x in range(other.shape[0]):
                    here, there = line[x], other[x]
                    if here == there:
                        continue
                    # Neighbours that face the same way are one sheet; else it is folded along their edge.
                    if here >= 0 and there >= 0 and alike(sheet, planes, np.uint32(here), np.uint32(there)):
                        continue
                    edge_gradient(
                        near, screen, triangles, adjacent, image, found, image_gradient, coverage_gradient,
                        row, x, axis, screen_gradient,
                    )  # fmt: skip
        if not (wants_sums or wants_texture):
            continue
        x = 0
        while x < width:
            end = end_of_cover(line, x)
            if line[x] >= 0:
                place, share_u, share_v = places[x:end], shares[0, x:end], shares[1, x:end]
                locate(planes, line[x:end], texels, row, x, place, share_u, share_v)
                gradient = image_gradient[:, row, x:end]
                if wants_sums:
                    slope_u, slope_v = slopes[0, x:end], slopes[1, x:end]
                    slope(texture, channels, place, share_u, share_v, right, down, gradient, slope_u, slope_v)
                    gather(planes, line[x:end], texels, row, x, slope_u, slope_v, sums)
                if wants_texture:
                    scatter(texture_gradient, channels, place, share_u, share_v, right, down, gradient)
            x = end


@inline
def alike(sheet, planes, one, other):
    """Whether two triangles have an edge in common and face the same way."""
    joined = other == sheet[one, 0] or other == sheet[one, 1] or other == sheet[one, 2]
    return joined and planes[one, 11] == planes[other, 11]


@inline
def slope(texture, channels, places, share_u, share_v, right, down, gradient, slope_u, slope_v):
    """Gradients with respect to the place in the texture; arguments as in `raster.sample`."""
    zero = texture.dtype.type(0)
    for n in range(gradient.shape[1]):
        p = np.uint32(places[n])
        fu, fv = share_u[n], share_v[n]
        gu = gv = zero
        for c in range(len(channels)):
            g = gradient[c, n]
            a, b = texture[c, p], texture[c, p + right]
            d, e = texture[c, p + down], texture[c, p + down + right]
            twist = (e - d) - (b - a)
            gu += g * ((b - a) + fv * twist)
            gv += g * ((d - a) + fu * twist)
        slope_u[n], slope_v[n] = gu, gv


@inline
def scatter(texture_gradient, channels, places, share_u, share_v, right, down, gradient):
    """Add gradients to the four texels that each pixel looks at; arguments as in `raster.sample`."""
    for n in range(gradient.shape[1]):
        p = np.uint32(places[n])
        fu, fv = share_u[n], share_v[n]
        for c in range(len(channels)):
            lower = gradient[c, n] * fv
            upper = gradient[c, n] - lower
            upper_right, lower_right = upper * fu, lower * fu
            texture_gradient[c, p] += upper - upper_right
            texture_gradient[c, p + right] += upper_right
            texture_gradient[c, p + down] += lower - lower_right
            texture_gradient[c, p + down + right] += lower_right


@inline
def gather(planes, found, texels, row, first, slope_u, slope_v, sums):
    """Sum the gradients of covered pixels of a row over the runs that show one triangle.

    Args:
        planes, found, texels, row, first: As in `raster.locate`.
        slope_u, slope_v: (N,) gradients with respect to u and v in texels.
        sums: (F, 9), added to.
    """
    real = planes.dtype.type
    zero, one = real(0), real(1)
    last_u, last_v = real(texels[0] - 1), real(texels[1] - 1)
    start = 0
    while start < found.shape[0]:
        t = np.uint32(found[start])
        end = end_of_run(found, start)
        dy = real(row) - planes[t, 10]
        d, nu, nv = planes[t, 0], planes[t, 3], planes[t, 6]
        d0, nu0 = planes[t, 1] * dy + planes[t, 2], planes[t, 4] * dy + planes[t, 5]
        nv0 = planes[t, 7] * dy + planes[t, 8]
        offset = real(first + start) - planes[t, 9]
        part_u, part_v = slope_u[start:end], slope_v[start:end]
        sum_d = sum_dx = sum_u = sum_ux = sum_v = sum_vx = zero
        for n in range(end - start):
            dx = real(np.int32(n)) + offset
            depth = one / (d * dx + d0)
            u, v = (nu * dx + nu0) * depth, (nv * dx + nv0) * depth
            # Beyond the outermost texel centres the texture is constant.
            gu = part_u[n] * depth if (u >= zero) & (u <= last_u) else zero
            gv = part_v[n] * depth if (v >= zero) & (v <= last_v) else zero
            gd = -(gu * u + gv * v)
            sum_d += gd
            sum_dx += gd * dx
            sum_u += gu
            sum_ux += gu * dx
            sum_v += gv
            sum_vx += gv * dx
        sums[t, 0] += sum_d
        sums[t, 1] += sum_dx
        sums[t, 2] += sum_d * dy
        sums[t, 3] += sum_u
        sums[t, 4] += sum_ux
        sums[t, 5] += sum_u * dy
        sums[t, 6] += sum_v
        sums[t, 7] += sum_vx
        sums[t, 8] += sum_v * dy
        start = end


@inline
def edge_gradient(
    near, screen, triangles, adjacent, image, found, image_gradient, coverage_gradient, row, column, axis,
    screen_gradient,
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
        screen_gradient[low, 0] += (1 - share) * gx
        screen_gradient[low, 1] += (1 - share) * gy
        screen_gradient[high, 0] += share * gx
        screen_gradient[high, 1] += share * gy


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
        near, screen, triangles, adjacent: As in `undraw`.
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
    i, j, k = np.uint32(triangles[start, 0]), np.uint32(triangles[start, 1]), np.uint32(triangles[start, 2])
    if screen[i, 3] < near or screen[j, 3] < near or screen[k, 3] < near:
        return 0, nothing, nothing, real(0)
    above_i, above_j, above_k = screen[i, across] >= line, screen[j, across] >= line, screen[k, across] >= line
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
        end, exit_cut, exit_share, opposite = one, sign * cut_one, share_one, opposite_one
    else:
        end, exit_cut, exit_share, opposite = other, sign * cut_other, share_other, opposite_other
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
        i, j, k = np.uint32(triangles[current, 0]), np.uint32(triangles[current, 1]), np.uint32(triangles[current, 2])
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


@inline
def screen_area(x0, y0, x1, y1, x2, y2):
    """Twice the signed area of a triangle."""
    return (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)


@kernel
def attributes_to_seen(
    vertices, projection, near, triangles, found, depth_gradient, barycentric_gradient, seen_gradient
):
    """Gradients of depth and corner weights of one picture with respect to homogeneous coordinates.

    Args:
        vertices, projection, near, triangles: As in `set_up`.
        found: (H, W) int32.
        depth_gradient: (H, W), or (0, 0) for none.
        barycentric_gradient: (3, H, W), or (0, 0, 0) for none.
        seen_gradient: (V, 3) float64, added to.
    """
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            t = found[row, column]
            if t < 0:
                continue
            i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            x0, y0, w0 = homogeneous(vertices, projection, i)
            x1, y1, w1 = homogeneous(vertices, projection, j)
            x2, y2, w2 = homogeneous(vertices, projection, k)
            x0, y0, x1, y1, x2, y2 = (
                x0 - column * w0,
                y0 - row * w0,
                x1 - column * w1,
                y1 - row * w1,
                x2 - column * w2,
                y2 - row * w2,
            )
            u0, u1, u2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
            total = u0 + u1 + u2
            if (
                w0 >= near
                and w1 >= near
                and w2 >= near
                and not abs(screen_area(x0 / w0, y0 / w0, x1 / w1, y1 / w1, x2 / w2, y2 / w2)) >= SLIVER
            ):
                continue
            over = 1 / total
            b0, b1, b2 = u0 * over, u1 * over, u2 * over
            g0 = g1 = g2 = gz = 0.0
            if barycentric_gradient.shape[0] > 0:
                g0, g1 = barycentric_gradient[0, row, column], barycentric_gradient[1, row, column]
                g2 = barycentric_gradient[2, row, column]
            if depth_gradient.shape[0] > 0:
                gz = np.float64(depth_gradient[row, column])
            # z = Σ bᵢwᵢ and bᵢ = uᵢ / Σu
            g0, g1, g2 = g0 + gz * w0, g1 + gz * w1, g2 + gz * w2
            mean = g0 * b0 + g1 * b1 + g2 * b2
            g0, g1, g2 = (g0 - mean) * over, (g1 - mean) * over, (g2 - mean) * over
            # u0 = x1 y2 - x2 y1 and so on, x and y relative to the pixel
            gx0, gy0 = g2 * y1 - g1 * y2, g1 * x2 - g2 * x1
            gx1, gy1 = g0 * y2 - g2 * y0, g2 * x0 - g0 * x2
            gx2, gy2 = g1 * y0 - g0 * y1, g0 * x1 - g1 * x0
            seen_gradient[i, 0] += gx0
            seen_gradient[i, 1] += gy0
            seen_gradient[i, 2] += gz * b0 - column * gx0 - row * gy0
            seen_gradient[j, 0] += gx1
            seen_gradient[j, 1] += gy1
            seen_gradient[j, 2] += gz * b1 - column * gx1 - row * gy1
            seen_gradient[k, 0] += gx2
            seen_gradient[k, 1] += gy2
            seen_gradient[k, 2] += gz * b2 - column * gx2 - row * gy2
