"""Pixels of a row, segment by segment: the runs that see one triangle, and where in the texture each pixel looks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from lipflow_kit.compiled.jit import inline, inline_fused
from lipflow_kit.compiled.lanes import bits_of, maximum, minimum, ramp, real_like, trailing_zeros, truncated
from lipflow_kit.compiled.memory import item, load_where, store
from llvmlite.binding import get_host_cpu_features

from lipflow_render.cpu.scene import (
    COLUMN,
    D_0,
    D_X,
    D_Y,
    ROW,
    U_0,
    U_HIGH,
    U_LOW,
    U_X,
    U_Y,
    V_0,
    V_HIGH,
    V_LOW,
    V_X,
    V_Y,
)

LANES = 8
"""Pixels computed at once. Scratch rows are longer than segments by as many: values beyond a row's end are ignored."""

BLOCK = 2 * LANES if get_host_cpu_features().get("avx512f") else LANES
"""Pixels computed at once where little is computed for each: the depth test, and the search for runs."""

WORD = 64
"""Pixels whose runs are found together: their number is unpredictable, and each mispredicted branch costs time."""

SEGMENT = 512
"""Pixels of a row that are processed together: their scratch fits a first-level cache."""

FRACTION_U, FRACTION_V, PIXEL_DEPTH, PIXEL_U, PIXEL_V, SLOPE_U, SLOPE_V = range(7)
"""Rows of `Segment.values`: the pixel's place between four texels, from the upper left; its depth; its texture
coordinates in texels, unclamped; and the loss's gradient with respect to them."""


class Segment(NamedTuple):
    """Scratch for a segment of up to SEGMENT pixels; all arrays have SEGMENT + 2 LANES columns.

    Args:
        starts: int32, the first pixel of each run, and after the last run the number of pixels.
        ids: int32, the triangle that each run sees, -1 for none.
        texel_rows: int32, row of the upper left of the four texels that a pixel looks at.
        texels: int32, flat index of that texel.
        values: (7, …) in the precision of the picture, see `FRACTION_U`.
    """

    starts: np.ndarray
    ids: np.ndarray
    texel_rows: np.ndarray
    texels: np.ndarray
    values: np.ndarray


@inline
def new_segment(like):
    """Allocate a `Segment` with values in the type of the array `like`.

    Texels are gathered for pixels that see nothing too, and ignored. Zeroed indices lie within every texture.
    """
    most = SEGMENT + 2 * LANES
    indices = np.zeros((4, most), np.int32)
    return Segment(indices[0], indices[1], indices[2], indices[3], np.zeros((SLOPE_V + 1, most), like.dtype))


@inline
def find_runs(found, start, count, segment):
    """Find the runs in a segment: write its `starts` and `ids`.

    Args:
        found: int32 array of any shape, the triangle at each pixel, -1 for none.
        start: Flat index of the segment's first pixel.
        count: Number of its pixels.
        segment: Written.

    Returns:
        The number of runs, including those that see nothing.
    """
    starts, ids = segment.starts, segment.ids
    starts[0], ids[0] = 0, item(found, start)
    runs = np.intp(1)
    for x in range(0, count, WORD):
        bits = np.intp(0)
        for n in range(0, WORD, BLOCK):
            pixel = ramp(np.int32(x + n), BLOCK)
            within = (pixel < np.int32(count)) & (pixel > np.int32(0))
            # Two loads instead of a shift: a load that straddles recent stores would stall.
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
def locate(planes, row, left, segment, runs, texture, keep):
    """Write where in the texture the pixels of a segment look; values of pixels that see nothing are undefined.

    Args:
        planes: See `Scene`.
        row: The row of the picture.
        left: The column of the segment's first pixel.
        segment: Its runs are read, all else is written.
        runs: The number of its runs.
        texture: The texture.
        keep: Whether gradients will be computed, which need more than interpolation: texel rows, depth, u and v.
    """
    starts, ids, texel_rows, texels, values = segment
    real = planes.dtype.type
    pitch = np.intp(values.shape[1])
    wide, last_column, last_row = np.int32(texture.width), np.int32(texture.width - 2), np.int32(texture.height - 2)
    for n in range(runs):
        if ids[n] < 0:
            continue
        first, end, t = np.intp(starts[n]), np.intp(starts[n + 1]), np.uint32(ids[n])
        dy = real(np.int32(row)) - planes[t, ROW]
        base_d, base_u = planes[t, D_Y] * dy + planes[t, D_0], planes[t, U_Y] * dy + planes[t, U_0]
        base_v, column_0 = planes[t, V_Y] * dy + planes[t, V_0], real(np.int32(left)) - planes[t, COLUMN]
        # Lanes beyond the run's end are overwritten by the next run.
        for x in range(first, end, LANES):
            dx = ramp(column_0 + real(np.int32(x)), LANES)
            depth = real(1) / (dx * planes[t, D_X] + base_d)
            u, v = (dx * planes[t, U_X] + base_u) * depth, (dx * planes[t, V_X] + base_v) * depth
            inside_u = minimum(maximum(u, planes[t, U_LOW]), planes[t, U_HIGH])
            inside_v = minimum(maximum(v, planes[t, V_LOW]), planes[t, V_HIGH])
            column, texel_row = minimum(truncated(inside_u), last_column), minimum(truncated(inside_v), last_row)
            store(texels, x, texel_row * wide + column)
            store(values, FRACTION_U * pitch + x, inside_u - real_like(column, u))
            store(values, FRACTION_V * pitch + x, inside_v - real_like(texel_row, v))
            if keep:
                store(texel_rows, x, texel_row)
                store(values, PIXEL_DEPTH * pitch + x, depth)
                store(values, PIXEL_U * pitch + x, u)
                store(values, PIXEL_V * pitch + x, v)
