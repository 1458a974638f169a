"""Constants of the definition of a picture's gradients, the same for all renderers: see docs/renderers.md."""

SLIVER = 1e-3
"""Doubled area in px² below which a triangle passes no gradient: dividing by its area would amplify rounding errors."""
MAX_STEPS = 32
"""Triangles that are followed between two neighbouring pixels in search of a boundary; farther ones are not found."""
TOUCHING = 1e-3
"""Tolerance in pixels: a surface that reaches no farther beyond the next pixel, and ends at the triangle which that
pixel shows, is continuous with it."""
