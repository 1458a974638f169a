"""Kernels that carry gradients of pictures back to textures and, within surfaces, to the corners of triangles."""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline, inline_fused, kernel
from lipflow_kit.compiled.lanes import bits_of, doubled, evens, lanes, odds, ramp, select, total, woven
from lipflow_kit.compiled.memory import fetch, gather_pairs, item, load, load_where, settle, store, stream

from lipflow_render.cpu.places import (
    DEPTH,
    LANES,
    SEGMENT,
    SHARE_U,
    SHARE_V,
    SLOPE_U,
    SLOPE_V,
    U,
    V,
    find_runs,
    locate,
    make_scratch,
)
from lipflow_render.cpu.scratch import SMALL
from lipflow_render.cpu.way_back import triangle_to_seen

PAIRS = 2 * LANES
QUAD = 4
"""Channels computed at once. That many of a texel lie beside each other while its gradients are summed: a pixel's four
texels are then four places in memory, not twelve, and what one pixel stored the next can load without waiting."""
QUADS = QUAD * LANES
SPARE = 8
"""Texels that rows of sums are longer by: rows powers of two apart processors take for one another."""
SPAN = 8
"""Rows of a texture for which is known together from where to where they were added to."""
MOMENTS = 9
"""Sums per triangle: over its pixels, of gradients of 1/depth, u/depth and v/depth, each times x, times y, alone."""


@kernel
def undraw(
    vertices, projection, near, screen, triangles, planes, texels, texture, channels, found, strip, strips,
    image_gradient, seen_gradient, texel_sums, spans,
):  # fmt: skip
    """Gradients of strips of rows of one picture, but for those of boundaries.

    Args:
        vertices, projection, near, screen, triangles, planes: As in `geometry.set_up`.
        texels: Width and height of the texture, both > 1.
        texture: (C, Ht · Wt).
        channels: A tuple of length C.
        found: (H, W) int32 as drawn.
        strip: Rows per strip.
        strips: The first strip and the one after the last.
        image_gradient: (C, H, W).
        seen_gradient: (strips, V, 3) float64, written: gradients of homogeneous coordinates; of length 0 if not wanted.
        texel_sums: (Ht, (Wt + SPARE) S) with S a multiple of `QUAD` ≥ C, added to: gradients of the texture, all
            channels of a texel beside each other; of length 0 if not wanted.
        spans: (ceil(Ht / SPAN), 2) int32, widened: the first texel of these rows that was added to, and the one after
            the last, or beyond.
    """
    height, width = found.shape
    wants_geometry, wants_texture = seen_gradient.shape[0] > 0, texel_sums.shape[0] > 0
    run_starts, ids, ranks, places, known = make_scratch(screen)
    corners = np.empty(places.shape[0], np.int32)
    colours = np.empty((len(channels) + QUAD - 1) // QUAD * QUAD * places.shape[0], screen.dtype)
    slots, touched = np.full(triangles.shape[0], -1, np.int32), np.empty(triangles.shape[0], np.int32)
    moments = np.empty((triangles.shape[0] if wants_geometry else 0, MOMENTS, LANES), screen.dtype)
    sums = np.empty(MOMENTS, screen.dtype)
    for n in range(strips[0], strips[1]):
        count = 0
        for row in range(n * strip, min(height, (n + 1) * strip)):
            for left in range(0, width, SEGMENT):
                start, length = row * width + left, min(width - left, SEGMENT)
                runs = find_runs(found, start, length, run_starts, ids)
                locate(planes, row, left, run_starts, ids, runs, texels, ranks, places, known, True)
                before, count = count, meet(ids, runs, slots, touched, count)
                if wants_geometry:
                    moments[before:count] = 0
                    slope(found, start, length, places, known, texels, texture, channels, image_gradient)
                    add_moments(planes, row, left, run_starts, ids, runs, texels, known, slots, moments)
                if wants_texture:
                    add_texels(
                        found, start, length, run_starts, ids, runs, ranks, places, known, texels, channels,
                        image_gradient, corners, colours, texel_sums,
                    )  # fmt: skip
        if wants_geometry:
            seen_gradient[n] = 0
        for slot in range(count):
            t = np.uint32(touched[slot])
            slots[t] = -1
            if wants_texture:
                widen(t, planes, texels, spans)
            if wants_geometry:
                for m in range(MOMENTS):
                    sums[m] = total(load(moments, (slot * MOMENTS + m) * LANES, LANES))
                triangle_to_seen(t, vertices, projection, near, screen, triangles, planes, sums, seen_gradient[n])


@inline_fused
def slope(found, start, count, places, known, texels, texture, channels, image_gradient):
    """Gradients with respect to the place in the texture, in texels, at the pixels of a segment.

    Args:
        start: Flat index of the segment's first pixel.
        count: Its pixels.
        places, known: As in `places.locate`; slopes written where something is seen.
        found, texels, texture, channels, image_gradient: As in `undraw`.
    """
    pixels, down, size = (
        np.intp(image_gradient.shape[1] * image_gradient.shape[2]),
        np.intp(texels[0]),
        texture.shape[1],
    )
    pitch, none = np.intp(known.shape[1]), lanes(texture.dtype.type(0), PAIRS)
    for x in range(0, count, LANES):
        within = ramp(np.int32(x), LANES) < np.int32(count)
        if bits_of(load_where(found, start + x, within, -1) >= np.int32(0)) == 0:
            continue
        place, fv = load(places, x, LANES), doubled(load(known, SHARE_V * pitch + x, LANES))
        level, drop = none, none
        for c in range(len(channels)):
            g = doubled(load_where(image_gradient, c * pixels + start + x, within, 0))
            upper = gather_pairs(texture, c * size, place)
            fall = gather_pairs(texture, c * size + down, place) - upper
            level = level + (upper + fall * fv) * g
            drop = drop + fall * g
        first = evens(drop)
        store(known, SLOPE_U * pitch + x, odds(level) - evens(level))
        store(known, SLOPE_V * pitch + x, first + (odds(drop) - first) * load(known, SHARE_U * pitch + x, LANES))


@inline_fused
def add_moments(planes, row, left, starts, ids, runs, texels, known, slots, moments):
    """Add the gradients at the pixels of a segment to the moments of the triangles that they see.

    Args:
        planes, row, left, starts, ids, runs, texels, known: As in `places.locate`.
        slots: (F,) int32, where in `moments` a triangle is.
        moments: (F, MOMENTS, LANES), added to: each triangle's moments, in parts whose sum they are.
    """
    real = planes.dtype.type
    pitch, zero = np.intp(known.shape[1]), lanes(real(0), LANES)
    last_u, last_v = real(texels[0] - 1), real(texels[1] - 1)
    for n in range(runs):
        if ids[n] < 0:
            continue
        first, end, t = np.intp(starts[n]), np.intp(starts[n + 1]), np.uint32(ids[n])
        place, dy = np.intp(slots[t]) * MOMENTS * LANES, real(np.int32(row)) - planes[t, 10]
        column_0 = real(np.int32(left)) - planes[t, 9]
        for x in range(first, end, LANES):
            own = ramp(np.int32(x), LANES) < np.int32(end)
            depth, u, v = (
                load(known, DEPTH * pitch + x, LANES),
                load(known, U * pitch + x, LANES),
                load(known, V * pitch + x, LANES),
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
    """Add lanes times x, times y and alone."""
    store(moments, place, load(moments, place, LANES) + g * dx)
    store(moments, place + LANES, load(moments, place + LANES, LANES) + g * dy)
    store(moments, place + 2 * LANES, load(moments, place + 2 * LANES, LANES) + g)


@inline
def meet(ids, runs, slots, touched, count):
    """Give each triangle of a segment a place of its own.

    Args:
        ids, runs: As in `places.locate`.
        slots: (F,) int32, updated: the place of each triangle, -1 for none yet.
        touched: (F,) int32, updated: the triangle at each place.
        count: How many there are.

    Returns:
        How many there are now.
    """
    for n in range(runs):
        if ids[n] >= 0 and slots[np.uint32(ids[n])] < 0:
            slots[np.uint32(ids[n])], touched[count] = count, ids[n]
            count += 1
    return count


@inline
def widen(t, planes, texels, spans):
    """Widen the spans of texels by those that a triangle shows; arguments as in `undraw`."""
    left, right = min(np.int32(planes[t, 12]), np.int32(texels[0] - 2)), np.int32(planes[t, 13]) + 2
    top, bottom = min(np.int32(planes[t, 14]), np.int32(texels[1] - 2)), np.int32(planes[t, 15]) + 2
    for n in range(top // SPAN, (min(bottom, np.int32(texels[1])) - 1) // SPAN + 1):
        spans[n, 0], spans[n, 1] = min(spans[n, 0], left), max(spans[n, 1], right)


@inline_fused
def add_texels(
    found, start, count, starts, ids, runs, ranks, places, known, texels, channels, image_gradient, corners, colours,
    sums,
):  # fmt: skip
    """Add gradients to the four texels that each pixel of a segment looks at.

    Args:
        start: Flat index of the segment's first pixel.
        count: Its pixels.
        starts, ids, runs, ranks, places, known: As in `places.locate`.
        found, texels, channels, image_gradient: As in `undraw`.
        corners, colours: Scratch.
        sums: `undraw`'s texel_sums.
    """
    pixels, groups = np.intp(found.size), (len(channels) + QUAD - 1) // QUAD
    pitch = np.intp(known.shape[1])
    stride, down = np.intp(groups * QUAD), np.intp(sums.shape[1])
    for x in range(0, count, LANES):
        within = ramp(np.int32(x), LANES) < np.int32(count)
        if bits_of(load_where(found, start + x, within, -1) >= np.int32(0)) == 0:
            continue
        store(corners, x, load(places, x, LANES) + load(ranks, x, LANES) * np.int32(SPARE))
        # One pixel waits for what the last one stored, so that the processor does not look ahead far enough itself.
        for pixel in range(x, x + LANES):
            corner = np.intp(item(corners, pixel)) * stride
            fetch(sums, corner)
            fetch(sums, corner + down)
        for c in range(0, len(channels), QUAD):
            even = woven(
                channel(image_gradient, channels, c, pixels, start + x, within),
                channel(image_gradient, channels, c + 2, pixels, start + x, within),
            )
            odd = woven(
                channel(image_gradient, channels, c + 1, pixels, start + x, within),
                channel(image_gradient, channels, c + 3, pixels, start + x, within),
            )
            store(colours, c * pitch + x * QUAD, woven(even, odd))
        # For the next segment, while texels are added to.
        fetch(found, start + x + SEGMENT)
        for c in range(len(channels)):
            fetch(image_gradient, c * pixels + start + x + SEGMENT)
    for n in range(runs):
        if item(ids, n) < 0:
            continue
        for x in range(np.intp(item(starts, n)), np.intp(item(starts, n + 1))):
            corner = np.intp(item(corners, x)) * stride
            fu, fv = item(known, SHARE_U * pitch + x), item(known, SHARE_V * pitch + x)
            for c in range(0, len(channels), QUAD):
                g = load(colours, c * pitch + x * QUAD, QUAD)
                lower = g * fv
                add_pair(sums, corner + c, stride, g - lower, fu)
                add_pair(sums, corner + down + c, stride, lower, fu)


@inline_fused
def channel(image_gradient, channels, c, pixels, pixel, within):
    """One channel's gradients at neighbouring pixels, 0 beyond the last channel."""
    zero = lanes(image_gradient.dtype.type(0), LANES)
    return load_where(image_gradient, c * pixels + pixel, within, 0) if c < len(channels) else zero


@inline_fused
def add_pair(sums, left, stride, g, share):
    """Add gradients to two neighbouring texels, the right one's share being `share`."""
    right = g * share
    one, other = load(sums, left, QUAD) + (g - right), load(sums, left + stride, QUAD) + right
    store(sums, left, one)
    store(sums, left + stride, other)


def new_spans(textures, shares, texels):
    """(textures, shares, ceil(Ht / SPAN), 2) int32: spans of texels (width, height) that nothing was added to yet."""
    return np.full((textures, shares, -(-texels[1] // SPAN), 2), (texels[0], 0), np.int32)


def may_stream(texture_gradient):
    """Whether all LANES of all rows of a gradient (…, Ht, Wt) lie where `stream` may write them, and it is not so small
    that it had better stay in the caches."""
    aligned = texture_gradient.data_ptr() % (LANES * texture_gradient.element_size()) == 0
    return aligned and texture_gradient.shape[-1] % LANES == 0 and texture_gradient.nbytes >= SMALL


@kernel
def hand_over(sums, spans, channels, wide, rows, streaming, texture_gradient):
    """Take what `add_texels` summed in N shares to a texture's gradients, and leave zeros in its place.

    Args:
        sums: (N, Ht, (Wt + SPARE) S), of each share as in `undraw`.
        spans: (N, ceil(Ht / SPAN), 2) int32, of each share as in `undraw`.
        channels: A tuple of length C.
        wide: Width of the texture.
        rows: The first of the texture's rows that are taken, a multiple of `SPAN`, and the one after the last.
        streaming: Whether to write past the caches: what `may_stream` says.
        texture_gradient: (C, Ht · Wt), written.
    """
    wide, length, pitch = np.intp(wide), np.intp(texture_gradient.shape[1]), np.intp(sums.shape[2])
    stride = pitch // (wide + SPARE)
    zero, none = lanes(sums.dtype.type(0), LANES), lanes(sums.dtype.type(0), QUADS)
    whole = wide - wide % LANES if stride == QUAD else np.intp(0)
    for top in range(rows[0], rows[1], SPAN):
        bottom = min(top + SPAN, rows[1])
        share, left, right = gather_shares(sums, spans, top, bottom, stride)
        for row in range(top, bottom):
            line, place = (np.intp(share) * np.intp(sums.shape[1]) + row) * pitch, row * wide
            for x in range(0, whole, LANES):
                one, two, three, four = zero, zero, zero, zero
                if x < right and x + LANES > left:
                    texels = load(sums, line + x * QUAD, QUADS)
                    store(sums, line + x * QUAD, none)
                    even, odd = evens(texels), odds(texels)
                    one, two, three, four = evens(even), evens(odd), odds(even), odds(odd)
                put(texture_gradient, place + x, one, streaming)
                if len(channels) > 1:
                    put(texture_gradient, length + place + x, two, streaming)
                if len(channels) > 2:
                    put(texture_gradient, 2 * length + place + x, three, streaming)
                if len(channels) > 3:
                    put(texture_gradient, 3 * length + place + x, four, streaming)
            for x in range(whole, wide):
                for c in range(len(channels)):
                    texture_gradient[c, place + x] = sums[share, row, x * stride + c]
                for c in range(stride):
                    sums[share, row, x * stride + c] = 0
    settle()


@inline
def gather_shares(sums, spans, top, bottom, stride):
    """Add what several shares have of some rows to the first of these shares, in order, and leave zeros in the others.

    Args:
        sums, spans: As in `hand_over`.
        top, bottom: Rows of one span.
        stride: Numbers per texel.

    Returns:
        The share, and its first texel that may not be zero and the one after the last. If no share has any, all is zero
        in the first.
    """
    none = lanes(sums.dtype.type(0), QUAD)
    height, pitch = np.intp(sums.shape[1]), np.intp(sums.shape[2])
    share, left, right = np.intp(0), np.intp(0), np.intp(0)
    for other in range(sums.shape[0]):
        first, end = np.intp(spans[other, top // SPAN, 0]), np.intp(spans[other, top // SPAN, 1])
        if first >= end:
            continue
        if left >= right:
            share, left, right = np.intp(other), first, end
            continue
        left, right = min(left, first), max(right, end)
        for row in range(top, bottom):
            to, of = (share * height + row) * pitch, (np.intp(other) * height + row) * pitch
            for n in range(first * stride, end * stride, QUAD):
                store(sums, to + n, load(sums, to + n, QUAD) + load(sums, of + n, QUAD))
                store(sums, of + n, none)
    return share, left, right


@inline
def put(array, place, values, streaming):
    """Store, past the caches if told so."""
    if streaming:
        stream(array, place, values)
    else:
        store(array, place, values)
