"""Where in the texture the pixels of a row look: run by run, a run being neighbours that see one triangle."""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline, inline_fused
from lipflow_kit.compiled.lanes import bits_of, maximum, minimum, ramp, real_like, trailing_zeros, whole
from lipflow_kit.compiled.memory import item, load_where, store
from llvmlite.binding import get_host_cpu_features

LANES = 8
"""Pixels computed at once. Rows of scratch are longer by as many: what falls beyond a row's end is not used."""

BLOCK = 2 * LANES if get_host_cpu_features().get("avx512f") else LANES
"""Pixels at once where little is computed: which triangle is nearest, and where it changes."""

WORD = 64
"""Pixels whose runs are looked for together: how many there are, nobody can predict, and guessing wrong costs time."""

SEGMENT = 512
"""Pixels of a row that are worked through together: what is known of them fits a first-level cache."""

SHARE_U, SHARE_V, DEPTH, U, V, SLOPE_U, SLOPE_V = range(7)
"""Rows of the scratch `known`: how far to the right and down from the upper left one of four texels a pixel looks;
depth; place in the texture in texels; gradients with respect to that place."""
KNOWN = SLOPE_V + 1


@inline
def make_scratch(like):
    """Scratch for a segment: starts and ids of runs, ranks, places, and `known` in the type of the array `like`.

    Places of pixels that see nothing are looked up too, and thrown away: zeros at first, they lie within the texture.
    """
    most = SEGMENT + 2 * LANES
    whole_numbers = np.zeros((4, most), np.int32)
    starts, ids, ranks, places = whole_numbers[0], whole_numbers[1], whole_numbers[2], whole_numbers[3]
    return starts, ids, ranks, places, np.zeros((KNOWN, most), like.dtype)


@inline
def find_runs(found, start, count, starts, ids):
    """Find the runs in a segment.

    Args:
        found: int32 array of any shape, the triangle at each pixel, -1 for none.
        start: Flat index of the segment's first pixel.
        count: Its pixels.
        starts: (≥ SEGMENT + 2 LANES,) int32, written: the first pixel of each run, and `count`.
        ids: The same, written: what each run sees.

    Returns:
        How many runs there are; pixels that see nothing form runs too.
    """
    starts[0], ids[0] = 0, item(found, start)
    runs = np.intp(1)
    for x in range(0, count, WORD):
        bits = np.intp(0)
        for n in range(0, WORD, BLOCK):
            pixel = ramp(np.int32(x + n), BLOCK)
            within = (pixel < np.int32(count)) & (pixel > np.int32(0))
            # Loaded twice and not shifted: what was stored at other places would have to be waited for.
            here = load_where(found, start + x + n, within, -1)
            before = load_where(found, start + x + n - 1, within, -1)
            bits |= bits_of(here != before) << n
        while bits != 0:
            place = x + trailing_zeros(bits)
            starts[runs], ids[runs] = place, item(found, start + place)
            runs += 1
            bits &= bits - 1
    starts[runs] = count
    return runs


@inline_fused
def locate(planes, row, left, starts, ids, runs, texels, ranks, places, known, keep):
    """Where in the texture the pixels of a segment look.

    Args:
        planes: (F, PLANE).
        row: The row of the picture.
        left: The column with which the segment begins.
        starts, ids, runs: As `find_runs` wrote and returned them.
        texels: Width and height of the texture, both > 1.
        ranks: (≥ SEGMENT + 2 LANES,) int32, written where something is seen: row of the upper left of four texels.
        places: The same: its index in the texture.
        known: (KNOWN, ≥ SEGMENT + 2 LANES), as places; its rows of slopes are not touched.
        keep: Whether more is wanted than interpolation takes: ranks, depth, u and v.
    """
    real = planes.dtype.type
    pitch = np.intp(known.shape[1])
    wide, last_column, last_rank = np.int32(texels[0]), np.int32(texels[0] - 2), np.int32(texels[1] - 2)
    for n in range(runs):
        if ids[n] < 0:
            continue
        first, end, t = np.intp(starts[n]), np.intp(starts[n + 1]), np.uint32(ids[n])
        dy = real(np.int32(row)) - planes[t, 10]
        base_d, base_u = planes[t, 1] * dy + planes[t, 2], planes[t, 4] * dy + planes[t, 5]
        base_v, column_0 = planes[t, 7] * dy + planes[t, 8], real(np.int32(left)) - planes[t, 9]
        # What is written beyond the run's end the next run overwrites.
        for x in range(first, end, LANES):
            dx = ramp(column_0 + real(np.int32(x)), LANES)
            depth = real(1) / (dx * planes[t, 0] + base_d)
            u, v = (dx * planes[t, 3] + base_u) * depth, (dx * planes[t, 6] + base_v) * depth
            inside_u = minimum(maximum(u, planes[t, 12]), planes[t, 13])
            inside_v = minimum(maximum(v, planes[t, 14]), planes[t, 15])
            column, rank = minimum(whole(inside_u), last_column), minimum(whole(inside_v), last_rank)
            store(places, x, rank * wide + column)
            store(known, SHARE_U * pitch + x, inside_u - real_like(column, u))
            store(known, SHARE_V * pitch + x, inside_v - real_like(rank, v))
            if keep:
                store(ranks, x, rank)
                store(known, DEPTH * pitch + x, depth)
                store(known, U * pitch + x, u)
                store(known, V * pitch + x, v)
