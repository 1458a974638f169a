"""Support for plugins whose inner loops are compiled by numba.

Kernels are written in four layers, and read in this order:

- `jit` has the decorators: `kernel` for functions that Python calls, `part` and `inline` for those that kernels call.
- `lanes` has SIMD vectors as a numba type; `memory` loads them from arrays and stores them.
- `workers` runs kernels on several threads.
- `machine_code` keeps compiled kernels on disk, `pages` allocates memory in large pages, `waiting` tells the user that
  kernels are being compiled.

numba is imported by `jit`, `lanes`, `memory`, `machine_code` and `waiting` only.
"""
