"""Gradients of textures: summed channel by channel beside each other, in shares, and then written out.

While gradients are summed, QUAD channels of a texel lie beside each other: the four texels of a pixel are then four
places in memory instead of twelve, and each store is loaded again by the next pixel without a stall. Several threads
may sum one texture's gradient, each in a share of its own; `write_out` adds the shares and transposes them.
"""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline, inline_fused, kernel
from lipflow_kit.compiled.lanes import bits_of, evens, interleaved, lanes, odds, ramp
from lipflow_kit.compiled.memory import fence, fetch, item, load, load_where, store, stream

from lipflow_render.cpu.scanline import FRACTION_U, FRACTION_V, LANES, SEGMENT
from lipflow_render.cpu.scene import U_HIGH, U_LOW, V_HIGH, V_LOW

QUAD = 4
"""Channels computed at once."""
QUADS = QUAD * LANES
PADDING = 8
"""Padding per row of sums, in texels: power-of-two strides alias in the cache."""
SPAN = 8
"""Rows of a texture that share one span: the range of texels that gradients were added to."""
STREAMED = 1 << 20
"""Bytes from which on a gradient is written past the caches: a smaller one is better read from there."""


@inline
def widen(planes, t, texture, spans):
    """Widen the spans of texels by those that a triangle shows.

    Args:
        planes: See `Scene`.
        t: The triangle.
        texture: The texture.
        spans: (ceil(height / SPAN), 2) int32, updated: for each SPAN rows the first texel that may have been added to,
            and one no less than the one after the last.
    """
    left, right = min(np.int32(planes[t, U_LOW]), np.int32(texture.width - 2)), np.int32(planes[t, U_HIGH]) + 2
    top, bottom = min(np.int32(planes[t, V_LOW]), np.int32(texture.height - 2)), np.int32(planes[t, V_HIGH]) + 2
    for n in range(top // SPAN, (min(bottom, np.int32(texture.height)) - 1) // SPAN + 1):
        spans[n, 0], spans[n, 1] = min(spans[n, 0], left), max(spans[n, 1], right)


@inline_fused
def add_texels(found, start, count, segment, runs, channels, image_gradient, corners, colours, sums):
    """Add the gradients at a segment's pixels to the four texels that each pixel looks at.

    Args:
        found: See `Scene`.
        start: Flat index of the segment's first pixel.
        count: Number of its pixels.
        segment: As `scanline.locate` wrote it.
        runs: The number of its runs.
        channels: See `Texture`.
        image_gradient: (C, H, W).
        corners, colours: Scratch.
        sums: (height, (width + PADDING) · S) with S the multiple of QUAD ≥ C, added to: S numbers per texel.
    """
    starts, ids, texel_rows, texels, known = segment
    pixels, groups = np.intp(found.size), (len(channels) + QUAD - 1) // QUAD
    pitch = np.intp(known.shape[1])
    stride, down = np.intp(groups * QUAD), np.intp(sums.shape[1])
    for x in range(0, count, LANES):
        within = ramp(np.int32(x), LANES) < np.int32(count)
        if bits_of(load_where(found, start + x, within, -1) >= np.int32(0)) == 0:
            continue
        store(corners, x, load(texels, x, LANES) + load(texel_rows, x, LANES) * np.int32(PADDING))
        # Each pixel depends on the stores of the last one, so the processor does not run far enough ahead by itself.
        for pixel in range(x, x + LANES):
            corner = np.intp(item(corners, pixel)) * stride
            fetch(sums, corner)
            fetch(sums, corner + down)
        for c in range(0, len(channels), QUAD):
            even = interleaved(
                channel(image_gradient, channels, c, pixels, start + x, within),
                channel(image_gradient, channels, c + 2, pixels, start + x, within),
            )
            odd = interleaved(
                channel(image_gradient, channels, c + 1, pixels, start + x, within),
                channel(image_gradient, channels, c + 3, pixels, start + x, within),
            )
            store(colours, c * pitch + x * QUAD, interleaved(even, odd))
        # Prefetch for the next segment while this one is added.
        fetch(found, start + x + SEGMENT)
        for c in range(len(channels)):
            fetch(image_gradient, c * pixels + start + x + SEGMENT)
    for n in range(runs):
        if item(ids, n) < 0:
            continue
        for x in range(np.intp(item(starts, n)), np.intp(item(starts, n + 1))):
            corner = np.intp(item(corners, x)) * stride
            fu, fv = item(known, FRACTION_U * pitch + x), item(known, FRACTION_V * pitch + x)
            for c in range(0, len(channels), QUAD):
                g = load(colours, c * pitch + x * QUAD, QUAD)
                lower = g * fv
                add_pair(sums, corner + c, stride, g - lower, fu)
                add_pair(sums, corner + down + c, stride, lower, fu)


@inline_fused
def channel(image_gradient, channels, c, pixels, pixel, within):
    """One channel's gradients at neighbouring pixels, zero beyond the last channel."""
    zero = lanes(image_gradient.dtype.type(0), LANES)
    return load_where(image_gradient, c * pixels + pixel, within, 0) if c < len(channels) else zero


@inline_fused
def add_pair(sums, left, stride, g, fraction):
    """Add gradients to two neighbouring texels, the right one getting `fraction` of them."""
    right = g * fraction
    one, other = load(sums, left, QUAD) + (g - right), load(sums, left + stride, QUAD) + right
    store(sums, left, one)
    store(sums, left + stride, other)


@kernel
def write_out(sums, spans, channels, wide, rows, streaming, texture_gradient):
    """Add the shares of a texture's gradient, write it in the texture's layout, and leave zeros in the sums.

    Args:
        sums: (N, height, (width + PADDING) · S), N shares as `add_texels` left them.
        spans: (N, ceil(height / SPAN), 2) int32, as `widen` left them.
        channels: See `Texture`.
        wide: Width of the texture.
        rows: The first of the texture's rows that are written, a multiple of `SPAN`, and the one after the last.
        streaming: Whether to write past the caches.
        texture_gradient: (C, height · width), written.
    """
    wide, length, pitch = np.intp(wide), np.intp(texture_gradient.shape[1]), np.intp(sums.shape[2])
    stride = pitch // (wide + PADDING)
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
    fence()


@inline
def gather_shares(sums, spans, top, bottom, stride):
    """Add the shares of some rows to the first share that has any, in order, and leave zeros in the others.

    Args:
        sums, spans: See `write_out`.
        top, bottom: Rows of one span.
        stride: Numbers per texel.

    Returns:
        That share, its first texel that may not be zero, and the one after the last. If no share has any, the first
        one, which is then all zero.
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
    """Store lanes, past the caches if `streaming`."""
    if streaming:
        stream(array, place, values)
    else:
        store(array, place, values)
