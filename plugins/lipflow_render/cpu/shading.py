"""Kernels that draw pictures: set up triangles, find which of them each pixel sees, and what it looks like there."""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline_fused, kernel
from lipflow_kit.compiled.lanes import bits_of, doubled, evens, lanes, odds, ramp, select
from lipflow_kit.compiled.memory import gather_pairs, load, load_where, store_where

from lipflow_render.cpu.geometry import set_up, transform
from lipflow_render.cpu.places import BLOCK, LANES, SEGMENT, SHARE_U, SHARE_V, find_runs, locate, make_scratch
from lipflow_render.cpu.raster import find_nearest


@kernel
def prepare(vertices, projection, near, screen, triangles, corners, size, band, planes, bounds, facing, starts):
    """Project the vertices of one sample and set up its triangles: see `geometry.transform` and `geometry.set_up`."""
    transform(vertices, projection, near, screen)
    return set_up(vertices, projection, near, screen, triangles, corners, size, band, planes, bounds, facing, starts)


@kernel
def draw(
    vertices, projection, near, screen, triangles, planes, bounds, bins, starts, band, bands, texels, texture,
    channels, background, image, found,
):  # fmt: skip
    """Draw bands of rows of one picture.

    Args:
        vertices, projection, near, screen, triangles, planes, bounds, starts, band: As in `geometry.set_up`.
        bins: As `geometry.set_up` returned them.
        bands: The first band and the one after the last.
        texels: Width and height of the texture, both > 1.
        texture: (C, Ht · Wt).
        channels: A tuple of length C: so the compiler knows C and unrolls.
        background: (C, H, W); or (0, 0, 0) for black.
        image: (C, H, W), rows written.
        found: (H, W) int32, rows written: the triangle at each pixel, -1 for none.
    """
    height, width = found.shape
    pitch = (width // BLOCK + 1) * BLOCK
    rows = min(1 << band, height)
    nearness, seen = np.empty((rows, pitch), screen.dtype), np.empty((rows, pitch), np.int32)
    run_starts, ids, ranks, places, known = make_scratch(screen)
    for n in range(bands[0], bands[1]):
        first_row, last_row = n << band, min(height, (n + 1) << band) - 1
        find_nearest(
            vertices, projection, near, screen, triangles, planes, bounds, bins[starts[n] : starts[n + 1]], first_row,
            last_row, nearness, seen,
        )  # fmt: skip
        for row in range(first_row, last_row + 1):
            line = (row - first_row) * pitch
            for left in range(0, width, SEGMENT):
                count = min(width - left, SEGMENT)
                runs = find_runs(seen, line + left, count, run_starts, ids)
                locate(planes, row, left, run_starts, ids, runs, texels, ranks, places, known, False)
                colour(
                    seen, line + left, row * width + left, count, places, known, texels, texture, channels, background,
                    image, found,
                )  # fmt: skip


@inline_fused
def colour(seen, line, start, count, places, known, texels, texture, channels, background, image, found):
    """Interpolate the texture between four texels at each pixel of a segment; arguments as in `draw`, and:

    Args:
        seen: (rows, pitch) int32, the triangle at each pixel of a band, and anything beyond the end of rows.
        line: Where in it the segment begins.
        start: Where in the picture.
        count: Its pixels.
        places, known: As in `places.locate`.
    """
    pixels, down, size = np.intp(found.size), np.intp(texels[0]), np.intp(texture.shape[1])
    pitch, black = np.intp(known.shape[1]), lanes(texture.dtype.type(0), LANES)
    for x in range(0, count, LANES):
        within = ramp(np.int32(x), LANES) < np.int32(count)
        ids = load(seen, line + x, LANES)
        store_where(found, start + x, ids, within)
        covered = ids >= np.int32(0)
        hit = bits_of(covered & within) != 0
        place, fu = load(places, x, LANES), load(known, SHARE_U * pitch + x, LANES)
        fv = doubled(load(known, SHARE_V * pitch + x, LANES))
        for c in range(len(channels)):
            colours = black
            if background.shape[0] > 0:
                colours = load_where(background, c * pixels + start + x, within, 0)
            if hit:
                upper = gather_pairs(texture, c * size, place)
                lower = gather_pairs(texture, c * size + down, place)
                level = upper + (lower - upper) * fv
                first = evens(level)
                colours = select(covered, first + (odds(level) - first) * fu, colours)
            store_where(image, c * pixels + start + x, colours, within)
