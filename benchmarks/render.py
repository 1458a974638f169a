"""How long rendering takes, forward and backward to vertices and texture, against `grid_sample` alone.

    python benchmarks/render.py                    # sizes of a laptop and of the paper, batch 1 and 16
    python benchmarks/render.py --size 480x640     # one of them
    python benchmarks/render.py --also torch drtk  # other renderers, if installed, too; `torch` is slow
    python benchmarks/render.py --device cuda      # `grid_sample` and `warp` on a GPU

`grid_sample` is given the texture coordinates that the renderer found, and carries gradients back to texture and
grid: the last step of a renderer built on torch. Pixels that see nothing look beyond the texture, where it has nothing
to do; in `grid_sample, as called` they look at its middle and the border is repeated, as in renderer `torch`. Ratios
are to the former, of the best of several interleaved runs in one process.
On a machine that does other work too, `--clock cpu` with one thread counts the time that was spent here.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
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


def head() -> tuple[Tensor, Topology]:
    """The CC0 head, its largest triangles split in three until there are about 14.6 thousand, as in the paper."""
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


def timed(
    function: Callable[[], tuple[Tensor, list[Tensor]]], gradient: Tensor, clock: Callable[[], float]
) -> tuple[float, float]:
    """Seconds forward and backward."""
    start = clock()
    image, leaves = function()
    middle = clock()
    torch.autograd.grad(image, leaves, gradient)
    return middle - start, clock() - middle


def wait_and_tell() -> float:
    """The time when the GPU has done all that it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(
    height: int,
    width: int,
    texels: int,
    batch: int,
    threads: int,
    runs: int,
    also: list[str],
    clock: Callable[[], float],
    device: str = "cpu",
) -> dict[str, object]:
    """Best times in milliseconds of each contestant for one size of pictures and of square textures."""
    torch.set_num_threads(threads)
    vertices, topology = head()
    view = camera(vertices, height, width, batch)
    given = RendererInputs(device="cpu", vertices=len(vertices), triangles=14_600, texture=(3, texels, texels))
    generator = torch.Generator().manual_seed(0)
    texture = interpolate(torch.rand(1, 3, 64, 64, generator=generator), size=(texels, texels), mode="bicubic")
    texture = texture.repeat(batch, 1, 1, 1).requires_grad_()
    meshes = vertices.repeat(batch, 1, 1).requires_grad_()
    gradient = torch.randn(1, 3, height, width, generator=generator).repeat(batch, 1, 1, 1)
    cpu = CpuRenderer(CpuRendererConfig(), given)
    with torch.no_grad():
        one = cpu(vertices[None], texture[:1], topology, camera(vertices, height, width, 1))
        weights, found = one.barycentric[0].permute(1, 2, 0), one.triangle[0].clamp(min=0)
        uv = torch.einsum("hwk,hwkc->hwc", weights, topology.uv[topology.uv_triangles[found]])
        grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], dim=-1)
        covered = one.coverage[0, ..., None] > 0
        tight, called = (torch.where(covered, grid, place)[None].repeat(batch, 1, 1, 1) for place in (3.0, 0.0))
    tight, called, texture, meshes = (
        part.detach().to(device).requires_grad_() for part in (tight, called, texture, meshes)
    )
    gradient, topology, view = (part.to(device) for part in (gradient, topology, view))

    contestants: dict[str, Callable[[], tuple[Tensor, list[Tensor]]]] = {
        "grid_sample": lambda: (
            grid_sample(texture, tight, align_corners=False, padding_mode="zeros"),
            [texture, tight],
        ),
        "grid_sample, as called": lambda: (
            grid_sample(texture, called, align_corners=False, padding_mode="border"),
            [texture, called],
        ),
    }
    if device == "cpu":
        contestants["cpu"] = lambda: (cpu(meshes, texture, topology, view).image, [meshes, texture])
    given = replace(given, device=device)
    for name in also:
        renderer = TypeAdapter(RendererSlot).validate_python(name).build(given)
        contestants[name] = lambda draw=renderer: (draw(meshes, texture, topology, view).image, [meshes, texture])
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(runs + 1):
        for name, function in contestants.items():
            times[name].append(timed(function, gradient, clock))
    best = {name: min(runs[1:], key=sum) for name, runs in times.items()}
    row: dict[str, object] = {"size": f"{width}x{height}", "batch": batch, "threads": threads}
    row["covered"] = round(one.coverage.mean().item(), 3)
    for name, (forward, backward) in best.items():
        row[name] = {"forward_ms": round(forward * 1e3, 2), "backward_ms": round(backward * 1e3, 2)}
        row[name]["ratio"] = round((forward + backward) / sum(best["grid_sample"]), 3)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each contestant")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--also", nargs="+", default=[], metavar="RENDERER", help="measure these at batch 1 too")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="time that passes, or of this process")
    names = [f"{width}x{height}" for height, width, _ in SIZES]
    parser.add_argument("--size", choices=names, nargs="+", default=names)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    if options.device == "cuda":
        clock = wait_and_tell
        options.also, options.threads = options.also or ["warp"], options.threads[:1]
    for height, width, texels in SIZES:
        if f"{width}x{height}" not in options.size:
            continue
        for batch in options.batch:
            for threads in options.threads:
                also = options.also if batch == 1 or options.device == "cuda" else []
                row = measure(height, width, texels, batch, threads, options.runs, also, clock, options.device)
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
