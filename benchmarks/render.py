"""Time of rendering, forward and backward to vertices and texture, against `grid_sample` alone.

    python benchmarks/render.py                    # sizes of a laptop and of the paper, batch 1 and 16
    python benchmarks/render.py --size 480x640     # one of these sizes
    python benchmarks/render.py --kernels          # with the time of each kernel of `cpu`, added over all threads
    python benchmarks/render.py --also torch drtk  # with other installed renderers; `torch` is slow
    python benchmarks/render.py --device cuda      # `grid_sample` and `warp` on a GPU

`grid_sample` gets the texture coordinates that the renderer found, and carries gradients back to texture and grid: the
last step of a renderer built on torch. Pixels that see nothing look beyond the texture, where `grid_sample` has nothing
to do. In `grid_sample, as called` they look at the texture's middle and the border is repeated, as in renderer `torch`.
Ratios are to the former, of the best of several runs, in which the contestants take turns. Each contestant has its own
process, so that none reuses memory of another.
On a machine that does other work too, use `--clock cpu` with one thread: it counts the processor time of this work.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from lipflow_render.config import CpuRendererConfig
from lipflow_render.cpu import CpuRenderer
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from lipflow_core.parts import RendererSlot
from lipflow_core.plans import RendererInputs
from lipflow_core.records import Camera, Topology

HEAD = Path(__file__).parents[1] / "plugins/lipflow_dome/data/head.npz"
SIZES = ((64, 48, 128), (96, 96, 128), (640, 480, 1024), (2048, 1334, 1024))
"""Rows and columns of the pictures, and the rows of the texture: those of preset `small` first."""
ALONE, CALLED = "grid_sample", "grid_sample, as called"


def head() -> tuple[Tensor, Topology]:
    """The CC0 head, with its largest triangles split in three until there are about 14,600, as in the paper."""
    data = np.load(HEAD)
    vertices, uv = list(data["vertices"]), list(data["uv"])
    triangles, uv_triangles = data["triangles"].tolist(), data["uv_triangles"].tolist()
    points = data["vertices"][data["triangles"]]
    area = np.linalg.norm(np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]), axis=1)
    for t in np.argsort(-area)[: (14_600 - len(triangles)) // 2]:
        (i, j, k), (a, b, c) = triangles[t], uv_triangles[t]
        vertices.append((vertices[i] + vertices[j] + vertices[k]) / 3)
        uv.append((uv[a] + uv[b] + uv[c]) / 3)
        n, m = len(vertices) - 1, len(uv) - 1
        triangles[t], uv_triangles[t] = [i, j, n], [a, b, m]
        triangles += [[j, k, n], [k, i, n]]
        uv_triangles += [[b, c, m], [c, a, m]]
    topology = Topology(torch.tensor(triangles), torch.tensor(np.array(uv)), torch.tensor(uv_triangles))
    return torch.tensor(np.array(vertices)), topology


def camera(vertices: Tensor, height: int, width: int, batch: int) -> Camera:
    """A frontal camera that the head fills."""
    centre = (vertices.amax(0) + vertices.amin(0)) / 2
    extent = (vertices.amax(0) - vertices.amin(0))[:2]
    focal = 0.95 * 900 * min(height / extent[1].item(), width / extent[0].item())
    intrinsics = torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    shift = torch.tensor([0.0, 0.0, 1000.0]) - flip @ centre
    extrinsics = torch.cat([flip, shift[:, None]], dim=1)
    return Camera(intrinsics.expand(batch, 3, 3), extrinsics.expand(batch, 3, 4), height, width)


def wait_and_tell() -> float:
    """Wait until the GPU has finished, and return the time."""
    torch.cuda.synchronize()
    return time.perf_counter()


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time, "gpu": wait_and_tell}


@dataclass(frozen=True)
class Case:
    """What is drawn, and how time is measured."""

    height: int
    width: int
    texels: int
    batch: int
    threads: int
    clock: str
    device: str
    kernels: bool


def contestant(name: str, case: Case) -> tuple[Callable[[], tuple[Tensor, list[Tensor]]], Tensor, float]:
    """Set up a contestant.

    Returns:
        A function that draws and returns the picture and the tensors that gradients are wanted of; the picture's
        gradient; and the share of pixels that see something.
    """
    vertices, topology = head()
    view = camera(vertices, case.height, case.width, case.batch)
    texture_size = (3, case.texels, case.texels)
    given = RendererInputs(device="cpu", vertices=len(vertices), triangles=14_600, texture=texture_size)
    generator = torch.Generator().manual_seed(0)
    texture = interpolate(torch.rand(1, 3, 64, 64, generator=generator), size=texture_size[1:], mode="bicubic")
    gradient = torch.randn(1, 3, case.height, case.width, generator=generator).repeat(case.batch, 1, 1, 1)
    with torch.no_grad():
        cpu = CpuRenderer(CpuRendererConfig(), given)
        one = cpu(vertices[None], texture, topology, camera(vertices, case.height, case.width, 1))
        weights, found = one.barycentric[0].permute(1, 2, 0), one.triangle[0].clamp(min=0)
        uv = torch.einsum("hwk,hwkc->hwc", weights, topology.uv[topology.uv_triangles[found]])
        grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], dim=-1)
        covered = one.coverage[0, ..., None] > 0
        grid = torch.where(covered, grid, 0.0 if name == CALLED else 3.0)[None].repeat(case.batch, 1, 1, 1)
    texture, vertices, grid = (
        leaf.to(case.device).requires_grad_()
        for leaf in (texture.repeat(case.batch, 1, 1, 1), vertices.repeat(case.batch, 1, 1), grid)
    )
    gradient, topology, view = (part.to(case.device) for part in (gradient, topology, view))
    if name in (ALONE, CALLED):
        padding = "border" if name == CALLED else "zeros"

        def draw() -> tuple[Tensor, list[Tensor]]:
            return grid_sample(texture, grid, align_corners=False, padding_mode=padding), [texture, grid]
    else:
        renderer = TypeAdapter(RendererSlot).validate_python(name).build(replace(given, device=case.device))

        def draw() -> tuple[Tensor, list[Tensor]]:
            return renderer(vertices, texture, topology, view).image, [vertices, texture]

    return draw, gradient, covered.float().mean().item()


def watch(clock: Callable[[], float]) -> dict[str, float]:
    """Add up the seconds that each kernel of renderer `cpu` takes from now on, by a clock of the calling thread."""
    from lipflow_render.cpu import geometry_backward, shading, silhouettes, surfaces, texture_gradients

    spent: dict[str, float] = {}
    adding = threading.Lock()

    def timed(name: str, kernel: Callable) -> Callable:
        def call(*arguments):
            start = clock()
            result = kernel(*arguments)
            taken = clock() - start
            with adding:
                spent[name] = spent.get(name, 0.0) + taken
            return result

        return call

    for module, names in (
        (shading, ("prepare", "draw")),
        (surfaces, ("surface_gradients",)),
        (texture_gradients, ("write_out",)),
        (silhouettes, ("boundary_gradients",)),
        (geometry_backward, ("corners_to_inputs",)),
    ):
        for name in names:
            setattr(module, name, timed(name, getattr(module, name)))
    return spent


def compete(name: str, case: Case, pipe: Connection) -> None:
    """Draw once to compile, send the share of pixels that see something, then draw and send the times when asked."""
    torch.set_num_threads(case.threads)
    clock = CLOCKS[case.clock]
    draw, gradient, covered = contestant(name, case)
    of_thread = time.thread_time if case.clock == "cpu" else time.perf_counter
    kernels = watch(of_thread) if case.kernels and name == "cpu" else {}

    def timed() -> tuple[float, float, dict[str, float]]:
        kernels.clear()
        start = clock()
        image, leaves = draw()
        middle = clock()
        torch.autograd.grad(image, leaves, gradient)
        return middle - start, clock() - middle, dict(kernels)

    timed()
    pipe.send(covered)
    while pipe.recv():
        pipe.send(timed())


def measure(case: Case, runs: int, also: list[str]) -> dict[str, object]:
    """Measure the best times of each contestant, forward and backward, in milliseconds for the whole batch."""
    names = [ALONE, CALLED, *(["cpu"] if case.device == "cpu" else []), *also]
    spawn, pipes, workers = get_context("spawn"), {}, []
    for name in names:
        pipes[name], theirs = spawn.Pipe()
        workers.append(spawn.Process(target=compete, args=(name, case, theirs), daemon=True))
        workers[-1].start()
        theirs.close()
    covered, *_ = [pipe.recv() for pipe in pipes.values()]
    times: dict[str, list[tuple[float, float, dict[str, float]]]] = {name: [] for name in names}
    for _ in range(runs + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            times[name].append(pipe.recv())
    for pipe, worker in zip(pipes.values(), workers, strict=True):
        pipe.send(False)
        worker.join()
    best = {name: min(taken[1:], key=lambda time: time[0] + time[1]) for name, taken in times.items()}
    row: dict[str, object] = {"size": f"{case.width}x{case.height}", "batch": case.batch, "threads": case.threads}
    row["covered"] = round(covered, 3)
    for name, (forward, backward, kernels) in best.items():
        row[name] = {"forward_ms": round(forward * 1e3, 2), "backward_ms": round(backward * 1e3, 2)}
        row[name]["ratio"] = round((forward + backward) / sum(best[ALONE][:2]), 3)
        if kernels:
            row[name]["kernels_ms"] = {kernel: round(spent * 1e3, 2) for kernel, spent in kernels.items()}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each contestant")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument(
        "--also", nargs="+", default=[], metavar="RENDERER", help="measure these renderers at batch 1 too"
    )
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="wall-clock time, or processor time")
    names = [f"{width}x{height}" for height, width, _ in SIZES]
    parser.add_argument("--size", choices=names, nargs="+", default=names)
    parser.add_argument("--kernels", action="store_true", help="print the time of each kernel of `cpu` too")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    if options.device == "cuda":
        options.clock = "gpu"
        options.also, options.threads = options.also or ["warp"], options.threads[:1]
    for height, width, texels in SIZES:
        if f"{width}x{height}" not in options.size:
            continue
        for batch in options.batch:
            for threads in options.threads:
                also = options.also if batch == 1 or options.device == "cuda" else []
                case = Case(height, width, texels, batch, threads, options.clock, options.device, options.kernels)
                print(json.dumps(measure(case, options.runs, also)), flush=True)


if __name__ == "__main__":
    main()
