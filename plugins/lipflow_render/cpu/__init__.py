"""Renderer `cpu`: fused kernels, compiled by numba at first use and kept on disk.

Python's side, from the outside in:

- `cpu_renderer` is the component, `autograd` its functions, `cpu_operators` the same for graphs of `torch.compile`;
- `forward` and `backward` call the kernels, sample by sample or in parts of pictures, on several threads;
- `batch`, `accumulation`, `buffers` and `cpu_topology` hold the arrays that they pass.

The kernels, in the order in which a picture is drawn:

- `scene` has their arguments and names the columns of their records;
- `geometry` projects vertices and sets up triangles, `raster` finds the triangle that each pixel sees, `scanline` where
  it looks in the texture, and `shading` its colour;
- backward, `surfaces` computes gradients within surfaces, with `texture_gradients` and `geometry_backward`, and
  `silhouettes` those of moving boundaries;
- `attributes` computes depth and corner weights, and their gradients.

They are written with the vectors of `lipflow_kit.compiled`. `lipflow_render.oracle` defines what they compute.
"""

from lipflow_render.cpu.cpu_renderer import CpuRenderer

__all__ = ["CpuRenderer"]
