"""Numbers that are part of what a picture's gradients are, whichever renderer draws it: see docs/renderers.md."""

SLIVER = 1e-3
"""Triangles of less than this doubled area in px² pass no gradient: it would be noise divided by their area."""
MAX_STEPS = 32
"""Triangles followed between two neighbouring pixels in search of a boundary; beyond, the pair passes no gradient."""
TOUCHING = 1e-3
"""In pixels: a surface that ends so little beyond the next pixel, at the triangle that is seen there, goes on in it."""
