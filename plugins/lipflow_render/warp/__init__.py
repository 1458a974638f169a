"""Renderer `warp`: kernels in NVIDIA Warp, one source for CPU and CUDA, compiled at first use and kept on disk."""

import warp

if tuple(int(part) for part in getattr(warp, "__version__", "0.0").split(".")[:2]) < (1, 19):
    raise ImportError(
        f"renderer 'warp' needs NVIDIA Warp 1.19 or newer, but '{warp.__file__}' is older or another package: "
        "pip install --upgrade 'warp-lang>=1.19'"
    )

from lipflow_render.warp.warp_renderer import WarpRenderer

__all__ = ["WarpRenderer"]
