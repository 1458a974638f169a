"""For plugins whose inner loops are compiled by numba: how they are compiled, vectors, and threads.

Nothing here is imported by the rest of the core; numba is imported by `jit`, `lanes` and `memory`, when a kernel is.
"""
