"""Kernels that carry gradients from pictures back to triangles, textures and backgrounds."""

from __future__ import annotations

import numpy as np

from lipflow_core.compiled.jit import inline, inline_fused, kernel
from lipflow_core.compiled.lanes import joined, lane, lanes, leading, load, ramp, select, store, total
from lipflow_render.cpu.geometry import SLIVER, homogeneous, triangles_to_seen
from lipflow_render.cpu.raster import LANES, end_of_cover, locate

QUAD = 4
"""Channels computed at once. That many of a texel lie beside each other while its gradients are summed: a pixel's four
texels are then four places in memory, not twelve, and what one pixel stored the next can load without waiting."""


@kernel
def undraw(
    vertices, projection, near, screen, triangles, planes, texels, texture, channels, found, strip, strips,
    texture_rows, image_gradient, seen_gradient, texel_sums, background_gradient,
):  # fmt: skip
    """Gradients of strips of rows of one picture, but for those of boundaries.

    Args:
        vertices, projection, near, screen, triangles, planes: As in `geometry.set_up`.
        texels: Width and height of the texture.
        texture: (C, Ht · Wt).
        channels: A tuple of length C.
        found: (H, W) int32 as drawn.
        strip: Rows per strip.
        strips: The first strip and the one after the last.
        texture_rows: First row of the texture that gets gradients, and the one after the last. A texel is added to
            pixel by pixel in the order of the rows, whichever share of the texture is asked for.
        image_gradient: (C, H, W).
        seen_gradient: (strips, V, 3) float64, written: gradients of homogeneous coordinates; of length 0 if not wanted.
        texel_sums: (texture_rows · Wt, S) with S a multiple of `QUAD` ≥ C, added to: gradients of those rows of the
            texture, all channels of a texel beside each other; of length 0 if not wanted.
        background_gradient: (C, H, W), rows written; of length 0 if not wanted.
    """
    real = screen.dtype.type
    height, width = found.shape
    wants_geometry, wants_texture = seen_gradient.shape[0] > 0, texel_sums.shape[0] > 0
    line = np.full(width + LANES, -1, np.int32)
    places = np.empty(width + LANES, np.int32)
    share_u, share_v = np.empty(width + LANES, screen.dtype), np.empty(width + LANES, screen.dtype)
    slope_u, slope_v = np.empty(width + LANES, screen.dtype), np.empty(width + LANES, screen.dtype)
    slots = np.empty(triangles.shape[0] if wants_geometry else 0, np.int32)
    touched = np.empty(slots.shape[0], np.int32)
    sums = np.empty((slots.shape[0], 9), screen.dtype)
    for n in range(strips[0], strips[1]):
        slots[:] = -1
        count = 0
        for row in range(n * strip, min(height, (n + 1) * strip)):
            line[:width] = found[row]
            if background_gradient.shape[0] > 0:
                for c in range(len(channels)):
                    for x in range(width):
                        background_gradient[c, row, x] = image_gradient[c, row, x] if line[x] < 0 else real(0)
            if not (wants_geometry or wants_texture):
                continue
            x = 0
            while x < width:
                end = end_of_cover(line, x, width)
                if line[x] >= 0:
                    locate(planes, line, row, x, end, texels, places, share_u, share_v)
                    if wants_geometry:
                        slope(
                            texture, channels, texels, places, share_u, share_v, x, end, image_gradient, row,
                            slope_u, slope_v,
                        )  # fmt: skip
                        count = gather(planes, line, row, x, end, texels, slope_u, slope_v, slots, touched, count, sums)
                    if wants_texture:
                        scatter(
                            texels, channels, places, share_u, share_v, x, end, image_gradient, row,
                            texture_rows, texel_sums,
                        )  # fmt: skip
                x = end
        if wants_geometry:
            seen_gradient[n] = 0
            triangles_to_seen(
                vertices, projection, near, screen, triangles, planes, touched[:count], sums, seen_gradient[n]
            )


@inline_fused
def slope(
    texture, channels, texels, places, share_u, share_v, start, stop, image_gradient, row, slope_u, slope_v
):  # fmt: skip
    """Gradients with respect to the place in the texture, in texels; arguments as in `raster.sample`.

    The two texels of a row are loaded at once.
    """
    size, down = np.intp(texture.shape[1]), np.intp(texels[0] if texels[1] > 1 else 0)
    zero = lanes(texture.dtype.type(0), 2)
    for x in range(start, stop):
        p = np.intp(places[x])
        fu, fv = share_u[x], share_v[x]
        level, drop = zero, zero
        for c in range(len(channels)):
            g = image_gradient[c, row, x]
            upper, lower = load(texture, c * size + p, 2), load(texture, c * size + p + down, 2)
            fall = lower - upper
            level = level + (upper + fall * fv) * g
            drop = drop + fall * g
        left = lane(drop, 0)
        slope_u[x], slope_v[x] = lane(level, 1) - lane(level, 0), left + fu * (lane(drop, 1) - left)


@inline_fused
def scatter(
    texels, channels, places, share_u, share_v, start, stop, image_gradient, row, texture_rows, sums
):  # fmt: skip
    """Add gradients to the four texels that each pixel looks at.

    Args:
        texels, channels, places, share_u, share_v, start, stop: As in `raster.sample`.
        image_gradient: (C, H, W).
        row: The row of the picture.
        texture_rows: First row of the texture that is added to, and the one after the last.
        sums: (texture_rows · Wt, S), added to: all channels of a texel beside each other.
    """
    wide, stride = np.intp(texels[0]), np.intp(sums.shape[1])
    first, beyond = texture_rows[0] * wide, texture_rows[1] * wide
    down = wide if texels[1] > 1 else 0
    for x in range(start, stop):
        p = np.intp(places[x])
        fu, fv = share_u[x], share_v[x]
        here, below = (p >= first) & (p < beyond), (p + down >= first) & (p + down < beyond)
        upper_left = (p - first) * stride
        lower_left = upper_left + down * stride
        for c in range(0, len(channels), QUAD):
            g = joined(
                (
                    channel(image_gradient, channels, c, row, x),
                    channel(image_gradient, channels, c + 1, row, x),
                    channel(image_gradient, channels, c + 2, row, x),
                    channel(image_gradient, channels, c + 3, row, x),
                )
            )
            lower = g * fv
            upper = g - lower
            if here:
                right = upper * fu
                store(sums, upper_left + c, load(sums, upper_left + c, QUAD) + (upper - right))
                store(sums, upper_left + stride + c, load(sums, upper_left + stride + c, QUAD) + right)
            if below:
                right = lower * fu
                store(sums, lower_left + c, load(sums, lower_left + c, QUAD) + (lower - right))
                store(sums, lower_left + stride + c, load(sums, lower_left + stride + c, QUAD) + right)


@inline
def channel(image_gradient, channels, c, row, x):
    """One channel of a pixel, 0 beyond the last."""
    return image_gradient[c, row, x] if c < len(channels) else image_gradient.dtype.type(0)


@kernel
def hand_over(sums, channels, first, texture_gradient):
    """Take what `scatter` summed to a texture's gradients, and leave zeros in its place.

    Args:
        sums: (N, S), gradients of N texels.
        channels: A tuple of length C.
        first: The first of the texels.
        texture_gradient: (C, Ht · Wt), written.
    """
    zero = lanes(sums.dtype.type(0), QUAD)
    for n in range(sums.shape[0]):
        for c in range(len(channels)):
            texture_gradient[c, first + n] = sums[n, c]
        for c in range(0, len(channels), QUAD):
            store(sums, n * sums.shape[1] + c, zero)


@inline_fused
def gather(planes, line, row, start, stop, texels, slope_u, slope_v, slots, touched, count, sums):
    """Sum the gradients of covered pixels of a row over the runs that show one triangle.

    Args:
        planes, line, row, start, stop, texels: As in `raster.locate`.
        slope_u, slope_v: (≥ W + LANES,) gradients with respect to u and v in texels.
        slots: (F,) int32, updated: where in `sums` a triangle is, -1 for nowhere yet.
        touched: (F,) int32, updated: the triangles in `sums`.
        count: How many they are.
        sums: (F, 9), added to: see `geometry.triangles_to_seen`.

    Returns:
        How many they are now.
    """
    real = planes.dtype.type
    zero, one = real(0), real(1)
    last_u, last_v = real(texels[0] - 1), real(texels[1] - 1)
    x = np.intp(start)
    while x < stop:
        t = np.uint32(line[x])
        run = leading(load(line, x, LANES) == np.int32(t))
        dy = real(row) - planes[t, 10]
        dx = ramp(real(np.int32(x)) - planes[t, 9], LANES)
        depth = one / (dx * planes[t, 0] + (planes[t, 1] * dy + planes[t, 2]))
        u = (dx * planes[t, 3] + (planes[t, 4] * dy + planes[t, 5])) * depth
        v = (dx * planes[t, 6] + (planes[t, 7] * dy + planes[t, 8])) * depth
        own = ramp(np.int32(0), LANES) < np.int32(run)
        # Beyond the outermost texel centres the texture is constant.
        gu = select(own & (u >= zero) & (u <= last_u), load(slope_u, x, LANES) * depth, zero)
        gv = select(own & (v >= zero) & (v <= last_v), load(slope_v, x, LANES) * depth, zero)
        gd = select(own, zero - (gu * u + gv * v), zero)
        dx = select(own, dx, zero)
        slot = np.intp(slots[t])
        if slot < 0:
            slot = np.intp(count)
            slots[t], touched[slot] = slot, t
            count += 1
            for n in range(9):
                sums[slot, n] = zero
        sum_d, sum_u, sum_v = total(gd), total(gu), total(gv)
        sums[slot, 0] += sum_d
        sums[slot, 1] += total(gd * dx)
        sums[slot, 2] += sum_d * dy
        sums[slot, 3] += sum_u
        sums[slot, 4] += total(gu * dx)
        sums[slot, 5] += sum_u * dy
        sums[slot, 6] += sum_v
        sums[slot, 7] += total(gv * dx)
        sums[slot, 8] += sum_v * dy
        x += run
    return count


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
                g0, g1 = (barycentric_gradient[0, row, column], barycentric_gradient[1, row, column])
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
