"""Kernels that draw pictures: they set up triangles, rasterise them, and interpolate the texture at each pixel."""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import inline_fused, kernel
from lipflow_kit.compiled.lanes import bits_of, doubled, evens, lanes, odds, ramp, select
from lipflow_kit.compiled.memory import gather_pairs, load, load_where, store_where

from lipflow_render.cpu.geometry import set_up, transform
from lipflow_render.cpu.raster import Band, find_nearest
from lipflow_render.cpu.scanline import (
    BLOCK,
    FRACTION_U,
    FRACTION_V,
    LANES,
    SEGMENT,
    find_runs,
    locate,
    new_segment,
)
from lipflow_render.cpu.scene import Scene, Texture


@kernel
def prepare(scene, corners, size, band, bounds, starts):
    """Project the vertices of one picture and set up its triangles.

    Args:
        scene: The fields of a `Scene`.
        corners, size, band, bounds, starts: See `geometry.set_up`.

    Returns:
        The bins of `geometry.set_up`.
    """
    scene = Scene(*scene)
    transform(scene)
    return set_up(scene, corners, size, band, bounds, starts)


@kernel
def draw(scene, texture, prepared, band, bands, background, image):
    """Draw bands of rows of one picture.

    Args:
        scene: The fields of a `Scene` that was prepared; rows of `found` are written.
        texture: The fields of a `Texture`.
        prepared: The bounds, starts and bins that `prepare` wrote and returned.
        band: See `geometry.set_up`.
        bands: The first band and the one after the last.
        background: (C, H, W); or (0, 0, 0) for black.
        image: (C, H, W), rows written.
    """
    scene, texture = Scene(*scene), Texture(*texture)
    bounds, starts, bins = prepared
    found, planes = scene.found, scene.planes
    height, width = found.shape
    pitch = (width // BLOCK + 1) * BLOCK
    rows = min(1 << band, height)
    nearness, seen = np.empty((rows, pitch), planes.dtype), np.empty((rows, pitch), np.int32)
    segment = new_segment(planes)
    for n in range(bands[0], bands[1]):
        first_row, last_row = n << band, min(height, (n + 1) << band) - 1
        find_nearest(scene, bounds, bins[starts[n] : starts[n + 1]], Band(first_row, last_row, nearness, seen))
        for row in range(first_row, last_row + 1):
            line = (row - first_row) * pitch
            for left in range(0, width, SEGMENT):
                count = min(width - left, SEGMENT)
                runs = find_runs(seen, line + left, count, segment)
                locate(planes, row, left, segment, runs, texture, False)
                colour(seen, line + left, row * width + left, count, segment, texture, background, image, found)


@inline_fused
def colour(seen, line, start, count, segment, texture, background, image, found):
    """Interpolate the texture between four texels at each pixel of a segment.

    Args:
        seen: (rows, pitch) int32, the triangle at each pixel of a band.
        line: Flat index of the segment's first pixel in `seen`.
        start: Its flat index in the picture.
        count: Number of pixels.
        segment: As `scanline.locate` wrote it.
        texture, background, image, found: See `draw`.
    """
    texels, known, values = segment.texels, segment.values, texture.values
    pixels, down, size = np.intp(found.size), np.intp(texture.width), np.intp(values.shape[1])
    pitch, black = np.intp(known.shape[1]), lanes(values.dtype.type(0), LANES)
    for x in range(0, count, LANES):
        within = ramp(np.int32(x), LANES) < np.int32(count)
        ids = load(seen, line + x, LANES)
        store_where(found, start + x, ids, within)
        covered = ids >= np.int32(0)
        hit = bits_of(covered & within) != 0
        place, fu = load(texels, x, LANES), load(known, FRACTION_U * pitch + x, LANES)
        fv = doubled(load(known, FRACTION_V * pitch + x, LANES))
        for c in range(len(texture.channels)):
            colours = black
            if background.shape[0] > 0:
                colours = load_where(background, c * pixels + start + x, within, 0)
            if hit:
                upper = gather_pairs(values, c * size, place)
                lower = gather_pairs(values, c * size + down, place)
                level = upper + (lower - upper) * fv
                first = evens(level)
                colours = select(covered, first + (odds(level) - first) * fu, colours)
            store_where(image, c * pixels + start + x, colours, within)
