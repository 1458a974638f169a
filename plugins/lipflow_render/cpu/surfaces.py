"""Gradients of pictures within surfaces, with respect to the corners of triangles and to the texture.

Each strip of rows is swept segment by segment. For the texture, every pixel's gradient is added to four texels (see
`texture_gradients`). For geometry, the gradients of the planes of 1 / depth, u / depth and v / depth (see `geometry`)
are summed over each triangle's pixels, and carried to its corners when the strip ends (see `geometry_backward`).
"""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline, inline_fused, kernel, part
from lipflow_kit.compiled.lanes import bits_of, doubled, evens, lanes, odds, ramp, select, total
from lipflow_kit.compiled.memory import gather_pairs, load, load_where, store

from lipflow_render.cpu.geometry_backward import planes_to_corners
from lipflow_render.cpu.scanline import (
    FRACTION_U,
    FRACTION_V,
    LANES,
    PIXEL_DEPTH,
    PIXEL_U,
    PIXEL_V,
    SEGMENT,
    SLOPE_U,
    SLOPE_V,
    find_runs,
    locate,
    new_segment,
)
from lipflow_render.cpu.scene import COLUMN, ROW, Scene, Texture
from lipflow_render.cpu.texture_gradients import QUAD, add_texels, widen

PAIRS = 2 * LANES
MOMENTS = 9
"""Sums per triangle over its pixels: gradients of 1 / depth, u / depth and v / depth, each times x, times y, alone."""


@kernel
def surface_gradients(scene, texture, strip, strips, image_gradient, corner_gradient, texel_sums, spans):
    """Compute the gradients of strips of rows of one picture, but for those of boundaries.

    Args:
        scene: The fields of the `Scene` as drawn.
        texture: The fields of the `Texture` as drawn.
        strip: Rows per strip.
        strips: The first strip and the one after the last.
        image_gradient: (C, H, W).
        corner_gradient: (strips, V, 3) float64, written: gradients of (X, Y, W) of the vertices; or of length 0.
        texel_sums: Added to, see `texture_gradients.add_texels`; or of length 0 if not wanted.
        spans: Widened, see `texture_gradients.widen`.
    """
    scene, texture = Scene(*scene), Texture(*texture)
    found, planes, triangles, channels = scene.found, scene.planes, scene.triangles, texture.channels
    height, width = found.shape
    wants_geometry, wants_texture = corner_gradient.shape[0] > 0, texel_sums.shape[0] > 0
    segment = new_segment(planes)
    corners = np.empty(segment.texels.shape[0], np.int32)
    colours = np.empty((len(channels) + QUAD - 1) // QUAD * QUAD * corners.shape[0], planes.dtype)
    slots, touched = np.full(triangles.shape[0], -1, np.int32), np.empty(triangles.shape[0], np.int32)
    moments = np.empty((triangles.shape[0] if wants_geometry else 0, MOMENTS, LANES), planes.dtype)
    for n in range(strips[0], strips[1]):
        count = 0
        for row in range(n * strip, min(height, (n + 1) * strip)):
            for left in range(0, width, SEGMENT):
                start, length = row * width + left, min(width - left, SEGMENT)
                runs = find_runs(found, start, length, segment)
                locate(planes, row, left, segment, runs, texture, True)
                before, count = count, assign_slots(segment.ids, runs, slots, touched, count)
                if wants_geometry:
                    moments[before:count] = 0
                    slope(found, start, length, segment, texture, image_gradient)
                    add_moments(planes, row, left, segment, runs, texture, slots, moments)
                if wants_texture:
                    add_texels(
                        found, start, length, segment, runs, channels, image_gradient, corners, colours, texel_sums
                    )
        for slot in range(count):
            slots[np.uint32(touched[slot])] = -1
            if wants_texture:
                widen(planes, np.uint32(touched[slot]), texture, spans)
        if wants_geometry:
            corner_gradient[n] = 0
            carry_to_corners(scene, moments, touched[:count], corner_gradient[n])


@part
def carry_to_corners(scene, moments, touched, corner_gradient):
    """Carry the moments of triangles to their corners.

    Args:
        scene: The mesh as drawn.
        moments: (F, MOMENTS, LANES), see `add_moments`.
        touched: (N,) int32, the triangle of each slot in use.
        corner_gradient: (V, 3) float64, added to.
    """
    sums = np.empty(MOMENTS, moments.dtype)
    for slot in range(touched.shape[0]):
        for m in range(MOMENTS):
            sums[m] = total(load(moments, (slot * MOMENTS + m) * LANES, LANES))
        planes_to_corners(scene, np.uint32(touched[slot]), sums, corner_gradient)


@inline
def assign_slots(ids, runs, slots, touched, count):
    """Give each triangle of a segment a slot of its own.

    Args:
        ids: The triangle of each run, -1 for none.
        runs: The number of runs.
        slots: (F,) int32, updated: the slot of each triangle, -1 for none yet.
        touched: (F,) int32, updated: the triangle of each slot.
        count: Slots in use.

    Returns:
        Slots in use afterwards.
    """
    for n in range(runs):
        if ids[n] >= 0 and slots[np.uint32(ids[n])] < 0:
            slots[np.uint32(ids[n])], touched[count] = count, ids[n]
            count += 1
    return count


@inline_fused
def slope(found, start, count, segment, texture, image_gradient):
    """Compute the loss's gradient with respect to the texture coordinates of a segment's pixels, in texels.

    Args:
        found: See `Scene`.
        start: Flat index of the segment's first pixel.
        count: Number of its pixels.
        segment: As `scanline.locate` wrote it; its slopes are written.
        texture, image_gradient: See `surface_gradients`.
    """
    texels, known, values = segment.texels, segment.values, texture.values
    pixels, down, size = (
        np.intp(image_gradient.shape[1] * image_gradient.shape[2]),
        np.intp(texture.width),
        values.shape[1],
    )
    pitch, none = np.intp(known.shape[1]), lanes(values.dtype.type(0), PAIRS)
    for x in range(0, count, LANES):
        within = ramp(np.int32(x), LANES) < np.int32(count)
        if bits_of(load_where(found, start + x, within, -1) >= np.int32(0)) == 0:
            continue
        place, fv = load(texels, x, LANES), doubled(load(known, FRACTION_V * pitch + x, LANES))
        level, drop = none, none
        for c in range(len(texture.channels)):
            g = doubled(load_where(image_gradient, c * pixels + start + x, within, 0))
            upper = gather_pairs(values, c * size, place)
            fall = gather_pairs(values, c * size + down, place) - upper
            level = level + (upper + fall * fv) * g
            drop = drop + fall * g
        first = evens(drop)
        store(known, SLOPE_U * pitch + x, odds(level) - evens(level))
        store(known, SLOPE_V * pitch + x, first + (odds(drop) - first) * load(known, FRACTION_U * pitch + x, LANES))


@inline_fused
def add_moments(planes, row, left, segment, runs, texture, slots, moments):
    """Add the gradients at a segment's pixels to the moments of the triangles that they see.

    Args:
        planes, row, left, segment, runs, texture: See `scanline.locate`, slopes included.
        slots: (F,) int32, the slot of each triangle.
        moments: (F, MOMENTS, LANES), added to: each slot's moments, in LANES partial sums.
    """
    starts, ids, known = segment.starts, segment.ids, segment.values
    real = planes.dtype.type
    pitch, zero = np.intp(known.shape[1]), lanes(real(0), LANES)
    last_u, last_v = real(texture.width - 1), real(texture.height - 1)
    for n in range(runs):
        if ids[n] < 0:
            continue
        first, end, t = np.intp(starts[n]), np.intp(starts[n + 1]), np.uint32(ids[n])
        place, dy = np.intp(slots[t]) * MOMENTS * LANES, real(np.int32(row)) - planes[t, ROW]
        column_0 = real(np.int32(left)) - planes[t, COLUMN]
        for x in range(first, end, LANES):
            own = ramp(np.int32(x), LANES) < np.int32(end)
            depth, u, v = (
                load(known, PIXEL_DEPTH * pitch + x, LANES),
                load(known, PIXEL_U * pitch + x, LANES),
                load(known, PIXEL_V * pitch + x, LANES),
            )
            # Beyond the outermost texel centres the texture is constant.
            gu = select(own & (u >= real(0)) & (u <= last_u), load(known, SLOPE_U * pitch + x, LANES) * depth, zero)
            gv = select(own & (v >= real(0)) & (v <= last_v), load(known, SLOPE_V * pitch + x, LANES) * depth, zero)
            gd = select(own, zero - (gu * u + gv * v), zero)
            dx = ramp(column_0 + real(np.int32(x)), LANES)
            add_to(moments, place, gd, dx, dy)
            add_to(moments, place + 3 * LANES, gu, dx, dy)
            add_to(moments, place + 6 * LANES, gv, dx, dy)


@inline_fused
def add_to(moments, place, g, dx, dy):
    """Add a plane's gradients times x, times y, and alone."""
    store(moments, place, load(moments, place, LANES) + g * dx)
    store(moments, place + LANES, load(moments, place + LANES, LANES) + g * dy)
    store(moments, place + 2 * LANES, load(moments, place + 2 * LANES, LANES) + g)
