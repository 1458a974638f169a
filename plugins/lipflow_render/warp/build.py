"""Compiles the kernels for each precision and device, and launches them on torch's tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import warp as wp
from lipflow_kit.locks import Lock
from lipflow_kit.notices import announced
from torch import Tensor

from lipflow_render.warp import warp_backward, warp_geometry, warp_raster, warp_silhouettes

THREADS = (
    warp_geometry.transform,
    warp_geometry.set_up,
    warp_geometry.collect,
    warp_raster.rasterise,
    warp_raster.shade,
    warp_raster.attributes,
    warp_silhouettes.edges,
    warp_backward.unshade,
)
BLOCKS = (warp_geometry.to_camera, warp_backward.to_corners, warp_backward.attributes_to_corners)
"""Kernels whose threads cooperate in blocks. Warp compiles a module anew for each block size."""

BLOCK = 32
"""Threads per block of the kernels in `BLOCKS` on CUDA; on the CPU a block has one thread."""

GRID_BLOCK = 256
"""Threads per block of the kernels in `THREADS` on CUDA."""

_compiling = Lock()
_in_blocks = Lock()
"""For CPU launches: Warp has one block memory for all threads of the process."""

_streams: dict[tuple[int, int], wp.Stream] = {}


def lanes(device: torch.device) -> tuple[int, int]:
    """How many threads divide a triangle's columns, and how many its rows."""
    return (8, 4) if device.type == "cuda" else (1, 1)


def launch(kernel: Callable, dtype: torch.dtype, device: torch.device, size: tuple[int, ...], *given: Any) -> None:
    """Run a kernel on torch's current stream.

    Args:
        kernel: One of `THREADS` or `BLOCKS`.
        dtype: Precision of the pictures.
        device: Device of the tensors.
        size: Number of threads, or of blocks, along each axis.
        given: The kernel's arguments. Tensors are passed without a copy, None means no array. The last axis of a
            contiguous tensor may serve as the vectors of an array, since the memory layout is the same.
    """
    if 0 in size:
        return
    compiled = _compiled(dtype, str(device))[kernel]
    arguments = [
        wp.from_torch(a, return_ctype=True, requires_grad=False) if isinstance(a, Tensor) else a for a in given
    ]
    options = {"dim": size, "inputs": arguments, "record_tape": False}
    if device.type == "cuda":
        options["stream"] = _stream(device)
    else:
        options["device"] = "cpu"
    if kernel not in BLOCKS:
        wp.launch(compiled, block_dim=GRID_BLOCK if device.type == "cuda" else 1, **options)
    elif device.type == "cuda":
        wp.launch_tiled(compiled, block_dim=BLOCK, **options)
    else:
        with _in_blocks.held:
            wp.launch_tiled(compiled, block_dim=BLOCK, **options)


def modules(dtype: torch.dtype) -> tuple[wp.Module, wp.Module]:
    """The Warp modules of one precision: of `THREADS` and of `BLOCKS`."""
    bound = _bound(dtype)
    return bound[THREADS[0]].module, bound[BLOCKS[0]].module


def compile_ahead(dtype: torch.dtype, architectures: Iterable[int], folder: Path) -> list[Path]:
    """Compile for GPUs that need not be present. The files show that the kernels compile, and their sizes.

    Args:
        dtype: Precision of the pictures.
        architectures: Compute capabilities times ten, such as 80 (A100) and 90 (H100).
        folder: Where the files go.

    Returns:
        A file per module and architecture.
    """
    _bound(dtype)
    return [
        path
        for module in modules(dtype)
        for path in wp.compile_aot_module(module, arch=list(architectures), module_dir=folder, use_ptx=False)
    ]


@cache
def _bound(dtype: torch.dtype) -> dict[Callable, wp.Kernel]:
    """The kernels with `Any` replaced by a precision, not yet compiled."""
    _start_warp()
    real = {torch.float32: wp.float32, torch.float64: wp.float64}[dtype]
    # No fused multiply-add: both triangles at an edge must round alike, and pictures must be equal on all devices.
    options = {"enable_backward": False, "fuse_fp": False, "fast_math": False}
    bound = {}
    for name, group, width in (("threads", THREADS, GRID_BLOCK), ("blocks", BLOCKS, BLOCK)):
        module = wp.get_module(f"lipflow_render.warp.{name}.{real.__name__}")
        wp.set_module_options({**options, "block_dim": width}, module)
        for function in group:
            kernel = wp.kernel(function, module=module, enable_backward=False)
            types = {
                name: wp.array(dtype=real, ndim=kind.ndim)
                for name, kind in function.__annotations__.items()
                if getattr(kind, "dtype", None) is Any
            }
            bound[function] = wp.overload(kernel, types)
    return bound


@cache
def _loaded(dtype: torch.dtype, device: str) -> dict[Callable, wp.Kernel]:
    """The kernels, compiled and loaded on a device."""
    bound = _bound(dtype)
    threads, blocks = modules(dtype)
    on_cuda, where = device != "cpu", wp.device_from_torch(torch.device(device))
    kept = f"this happens once, since they are kept in {wp.config.kernel_cache_dir}"
    with announced(f"compiling kernels of renderer 'warp' for {device}; {kept}"):
        threads.load(where, block_dim=GRID_BLOCK if on_cuda else 1)
        blocks.load(where, block_dim=BLOCK if on_cuda else 1)
    return bound


def _compiled(dtype: torch.dtype, device: str) -> dict[Callable, wp.Kernel]:
    with _compiling.held:  # one of several concurrent first calls compiles
        return _loaded(dtype, device)


def _start_warp() -> None:
    """Initialise Warp silently: it prints to standard output, where commands write their results."""
    if wp.config.log_level < wp.LOG_WARNING:
        wp.config.log_level = wp.LOG_WARNING
    wp.init()


def _stream(device: torch.device) -> wp.Stream:
    """Warp's handle of torch's current stream, which differs while a CUDA graph is captured."""
    stream = torch.cuda.current_stream(device)
    key = (stream.device_index, stream.cuda_stream)
    if key not in _streams:
        _streams[key] = wp.stream_from_torch(stream)
    return _streams[key]
