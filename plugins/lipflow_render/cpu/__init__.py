"""Renderer `cpu`: fused kernels, compiled by numba on first use and cached on disk."""

from lipflow_render.cpu.renderer import CpuRenderer

__all__ = ["CpuRenderer"]
