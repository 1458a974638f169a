"""Renderer `warp`: kernels in NVIDIA Warp, one source for CPU and CUDA, compiled on first use and cached on disk."""

from lipflow_render.warp.renderer import WarpRenderer

__all__ = ["WarpRenderer"]
