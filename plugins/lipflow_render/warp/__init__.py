"""Renderer `warp`: kernels in NVIDIA Warp, one source for CPU and CUDA, compiled on first use and cached on disk."""

import warp

if tuple(int(part) for part in getattr(warp, "__version__", "0.0").split(".")[:2]) < (1, 19):
    raise ImportError(
        f"NVIDIA Warp 1.19 or newer is needed, '{warp.__file__}' is older or another package of that name: "
        "pip install --upgrade 'lipflow-core[warp]'"
    )

from lipflow_render.warp.renderer import WarpRenderer

__all__ = ["WarpRenderer"]
