"""Compiles the kernels, per precision and device, and launches them on torch's tensors."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import warp as wp
from lipflow_kit.locks import Lock
from torch import Tensor

from lipflow_render.warp import backward, geometry, raster, silhouettes

THREADS = (
    geometry.transform,
    geometry.set_up,
    geometry.collect,
    raster.rasterise,
    raster.shade,
    raster.attributes,
    silhouettes.edges,
    backward.unshade,
)
BLOCKS = (geometry.to_camera, backward.to_corners, backward.attributes_to_corners)
"""Kernels whose threads work together in blocks. Warp compiles a module anew for each width of block."""

BLOCK = 32
"""Threads of a block of `BLOCKS` on CUDA; on the CPU a block is one thread."""

GRID_BLOCK = 256
"""The same of `THREADS`."""

_compiling = Lock()
_in_blocks = Lock()
"""On the CPU: Warp keeps a block's memory in one place for all threads of the process."""

_streams: dict[tuple[int, int], wp.Stream] = {}


def lanes(device: torch.device) -> tuple[int, int]:
    """How the threads of one triangle share its columns and rows."""
    return (8, 4) if device.type == "cuda" else (1, 1)


def launch(kernel: Callable, dtype: torch.dtype, device: torch.device, size: tuple[int, ...], *given: Any) -> None:
    """Run a kernel in order with what torch does on the device.

    Args:
        kernel: One of `THREADS` or `BLOCKS`.
        dtype: Precision of the build.
        device: Where the tensors are.
        size: Number of threads along each axis, or of blocks.
        given: The kernel's arguments; tensors are passed as they are, without a copy, None for no array. The last axis
            of a tensor can be the vectors of an array: contiguous, they lie in memory alike.
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
    """Compile for GPUs that need not be here, such as 80 (A100) and 90 (H100). What is in the folder runs nowhere by
    itself; it shows that the kernels compile, and how large they become.

    Args:
        dtype: Precision.
        architectures: Compute capabilities, ten times.
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
    """The kernels with `Any` replaced by a precision, not compiled yet."""
    _start_warp()
    real = {torch.float32: wp.float32, torch.float64: wp.float64}[dtype]
    # Rounding must not depend on which multiplications a compiler fuses with additions: the triangles on both sides of
    # an edge must agree, and pictures be the same on every device.
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
    line = f"lipflow-core: compiling the 'warp' renderer for {device}, once; about 10 seconds"
    timer = threading.Timer(3.0, print, [line], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        on_cuda = device != "cpu"
        where = wp.device_from_torch(torch.device(device))
        threads.load(where, block_dim=GRID_BLOCK if on_cuda else 1)
        blocks.load(where, block_dim=BLOCK if on_cuda else 1)
    finally:
        timer.cancel()
    return bound


def _compiled(dtype: torch.dtype, device: str) -> dict[Callable, wp.Kernel]:
    with _compiling.held:  # Of concurrent first calls one compiles.
        return _loaded(dtype, device)


def _start_warp() -> None:
    """Initialise Warp quietly: what it would print goes to stdout, where commands write their results."""
    if wp.config.log_level < wp.LOG_WARNING:
        wp.config.log_level = wp.LOG_WARNING
    wp.init()


def _stream(device: torch.device) -> wp.Stream:
    """Warp's name for the stream that torch works on. It also is torch's while a CUDA graph is captured."""
    stream = torch.cuda.current_stream(device)
    key = (stream.device_index, stream.cuda_stream)
    if key not in _streams:
        _streams[key] = wp.stream_from_torch(stream)
    return _streams[key]
