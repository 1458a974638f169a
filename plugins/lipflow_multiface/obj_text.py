"""Writing .obj files: their vertices are formatted by a compiled loop, since every frame has one. Imports no torch."""

from __future__ import annotations

import numpy as np
from lipflow_kit.compiled.jit import kernel, part

from lipflow_multiface.obj_files import Mesh

_DIGITS = 9  # significant digits from which a float32 number can be read back
_LONGEST = 24  # bytes of the longest number: sign, digits, point, and zeros behind it
_SPACE, _MINUS, _POINT, _ZERO, _V, _NEW_LINE = (ord(character) for character in " -.0v\n")


def format_mesh(mesh: Mesh) -> bytes:
    """Give the content of an .obj file, from which `read_mesh` reads the same float32 numbers."""
    return format_vertices(mesh.vertices) + format_topology(mesh)


def format_vertices(vertices: np.ndarray) -> bytes:
    """Format the lines `v` of an .obj file, which differ from frame to frame.

    Args:
        vertices: (V, 3) within ±10⁶. They are read back exactly, but for numbers below 10⁻¹⁷, which become 0.
    """
    text = np.empty(len(vertices) * (2 + 3 * (1 + _LONGEST)), np.uint8)
    length = _put_vertices(np.ascontiguousarray(vertices, np.float32), text)
    return text[:length].tobytes()


def format_topology(mesh: Mesh) -> bytes:
    """Format the lines `vt` and `f` of an .obj file, which are the same in every frame."""
    lines = [f"vt {u:.9g} {v:.9g}\n" for u, v in mesh.uv.tolist()]
    for (a, b, c), (d, e, f) in zip((mesh.triangles + 1).tolist(), (mesh.uv_triangles + 1).tolist(), strict=True):
        lines.append(f"f {a}/{d} {b}/{e} {c}/{f}\n")
    return "".join(lines).encode("ascii")


@part
def _put_number(value: float, text: np.ndarray, end: int) -> int:
    """Append a number with nine significant digits; gives the new end of the text."""
    if value < 0:
        text[end] = _MINUS
        end += 1
        value = -value
    decimals, limit = _DIGITS - 1, 10.0
    while value >= limit and decimals > 0:
        decimals -= 1
        limit *= 10
    limit = 1.0
    while value < limit and decimals < _DIGITS + 8:
        decimals += 1
        limit /= 10
    digits = np.int64(np.rint(value * 10.0**decimals))
    while decimals > 0 and digits % 10 == 0:
        digits //= 10
        decimals -= 1
    length, rest = 1, digits // 10
    while rest > 0 or length <= decimals:
        length += 1
        rest //= 10
    point = end + length - decimals
    last = end + length - 1 + (decimals > 0)
    for place in range(last, end - 1, -1):
        if decimals > 0 and place == point:
            text[place] = _POINT
        else:
            text[place] = _ZERO + digits % 10
            digits //= 10
    return last + 1


@kernel
def _put_vertices(vertices: np.ndarray, text: np.ndarray) -> int:
    end = 0
    for row in range(len(vertices)):
        text[end] = _V
        end += 1
        for column in range(3):
            text[end] = _SPACE
            end = _put_number(np.float64(vertices[row, column]), text, end + 1)
        text[end] = _NEW_LINE
        end += 1
    return end
