"""What the kernels take: named tuples of arrays, and names for the columns of the records in these arrays.

Python passes plain tuples of the same fields, whose types numba recognises in a microsecond instead of five, and each
kernel begins by making them named tuples. Fields are read before loops, since numba counts references to an array each
time it is read from a tuple.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

X, Y, INVERSE, DEPTH = range(4)
"""Columns of `Scene.screen`: pixel coordinates, 1 / depth, and depth in millimetres."""

D_X, D_Y, D_0, U_X, U_Y, U_0, V_X, V_Y, V_0, COLUMN, ROW, FACING, U_LOW, U_HIGH, V_LOW, V_HIGH = range(16)
"""Columns of `Scene.planes`: coefficients of the planes of 1 / depth, u / depth and v / depth by x, by y and constant;
the pixel that x and y are relative to; the sign of the triangle's area; and the range of u and v within the texture."""

LEFT, RIGHT, TOP, BOTTOM = range(4)
"""Columns of `bounds`: the first and the last column and row of pixels that a triangle may hit."""

START, END, SIDE, OTHER_SIDE, WINDING = range(5)
"""Columns of `Adjacency.edges`: two vertices; the triangles on both sides, the second -1 at the mesh's border; and 1 if
both triangles wind the same way, else -1."""

CORNER, CORNER_RANGE = 10, 6
"""Number of columns of a texture's `corners`: u and v of each corner in texels; and the first of the four that hold the
ranges in the order of `U_LOW` … `V_HIGH`."""


class Scene(NamedTuple):
    """The mesh of one picture as its camera sees it.

    `screen`, `planes` and `facing` are written by `shading.prepare` and `found` by `shading.draw`.

    Args:
        vertices: (V, 3) millimetres.
        projection: (3, 4) float64, intrinsics times extrinsics.
        near: Depth of the near plane in millimetres.
        triangles: (F, 3) int32.
        screen: (V, 4), see `X`; pixel coordinates and 1 / depth are undefined for vertices nearer than `near`.
        planes: (F, 16), see `D_X`; defined for triangles that may hit a pixel centre.
        facing: (F,) int8, the sign of each triangle's area, negative if it faces the camera; 0 if that is uncertain.
        found: (H, W) int32, the triangle at each pixel, -1 for none.
    """

    vertices: np.ndarray
    projection: np.ndarray
    near: float
    triangles: np.ndarray
    screen: np.ndarray
    planes: np.ndarray
    facing: np.ndarray
    found: np.ndarray


class Texture(NamedTuple):
    """The texture of one picture.

    Args:
        values: (C, height · width).
        width: Texels per row, at least 2.
        height: Rows, at least 2.
        channels: C zeros: as the length of a tuple, C is known when a kernel is compiled, and loops over it unroll.
    """

    values: np.ndarray
    width: int
    height: int
    channels: tuple[int, ...]


class Adjacency(NamedTuple):
    """How the triangles of a mesh are connected.

    Args:
        adjacent: (F, 3) int32, the triangle across the edge opposite each corner, -1 for none.
        sheet: (F, 3) int32, the same where both triangles wind the same way, else -1.
        edges: (E, 5) int32, each edge once, see `START`.
    """

    adjacent: np.ndarray
    sheet: np.ndarray
    edges: np.ndarray
