"""Agreement of renderers with the oracle `torch`: pictures, holes, and gradients of a photometric loss.

    python benchmarks/renderer_agreement.py cpu drtk --device cpu

Two meshes are drawn from random directions: a bumpy sphere with edges about 14 pixels long, and the head with edges
about 3 pixels long. The loss compares the picture with one of the mesh moved by 2 mm. Gradients are compared by the
cosine of the angle between them and by the relative size of their difference.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace

import roma
import torch
from pydantic import TypeAdapter
from render import camera as frontal
from render import head
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate

from lipflow_core.interfaces import Renderer
from lipflow_core.parts import RendererSlot
from lipflow_core.plans import RendererInputs
from lipflow_core.records import Camera, Topology


def bumpy_sphere(rows: int = 18, columns: int = 24, radius: float = 50.0) -> tuple[Tensor, Topology]:
    """Make a closed sphere with bumps that occlude each other: vertices (V, 3) in millimetres and topology."""
    polar = math.pi * torch.arange(1, rows, dtype=torch.float64) / rows
    azimuth = 2 * math.pi * torch.arange(columns, dtype=torch.float64) / columns
    p, a = (each.flatten() for each in torch.meshgrid(polar, azimuth, indexing="ij"))
    ring = torch.stack([p.sin() * a.cos(), p.cos(), p.sin() * a.sin()], dim=1)
    vertices = radius * torch.cat([ring, torch.tensor([[0.0, 1, 0], [0, -1, 0]])])
    x, y, z = vertices.split(1, dim=1)
    vertices = vertices * (1 + 0.25 * (x / 9).sin() * (y / 7).cos() + 0.1 * (z / 5).sin())
    top, bottom = len(ring), len(ring) + 1
    triangles = []
    for c in range(columns):
        following = (c + 1) % columns
        triangles += [[top, following, c], [bottom, top - columns + c, top - columns + following]]
        for r in range(0, top - columns, columns):
            corners = (r + c, r + following, r + columns + following, r + columns + c)
            triangles += [[corners[i] for i in half] for half in ((0, 1, 2), (0, 2, 3))]
    uv = 0.5 + vertices[:, :2] / (4 * radius)
    return vertices.float(), Topology(torch.tensor(triangles), uv.float(), torch.tensor(triangles))


def turned(view: Camera, centre: Tensor, seed: int) -> Camera:
    """Turn the mesh at random about its centre and return the cameras that see it."""
    rotation = roma.random_rotmat(generator=torch.Generator().manual_seed(seed))
    return view.moved(torch.cat([rotation, (centre - rotation @ centre)[:, None]], dim=1)[None])


def inside(count: int) -> Camera:
    """Wide-angle cameras at random places inside the sphere, with pictures of 12×12."""
    generator = torch.Generator().manual_seed(0)
    rotation = roma.random_rotmat(count, generator=generator)
    place = 15 * torch.randn(count, 3, 1, generator=generator).clamp(-1, 1)
    intrinsics = torch.tensor([[4.5, 0, 5.5], [0, 4.5, 5.5], [0, 0, 1]])
    return Camera(intrinsics.expand(count, 3, 3), torch.cat([rotation, -rotation @ place], dim=2), 12, 12)


def gradients(renderer: Renderer, mesh: Tensor, texture: Tensor, topology: Topology, view: Camera, target: Tensor):
    """Compute the gradients of the loss with respect to vertices, texture, intrinsics and extrinsics."""
    leaves = [each.clone().requires_grad_() for each in (mesh, texture, view.intrinsics, view.extrinsics)]
    view = replace(view, intrinsics=leaves[2], extrinsics=leaves[3])
    loss = (renderer(leaves[0], leaves[1], topology, view).image - target).square().mean()
    return torch.autograd.grad(loss, leaves)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renderers", nargs="+", help="names of installed renderers")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--poses", type=int, default=20)
    options = parser.parse_args()
    given = RendererInputs(device=options.device, vertices=7_000, triangles=14_600, texture=(3, 64, 64))
    oracle, *others = (
        TypeAdapter(RendererSlot).validate_python(name).build(given) for name in ("torch", *options.renderers)
    )
    texture = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    texture = interpolate(texture, size=(64, 64), mode="bilinear", align_corners=True).to(options.device)
    names = ("vertices", "texture", "intrinsics", "extrinsics")
    for mesh_name, (vertices, topology) in {"sphere": bumpy_sphere(), "head": head()}.items():
        mesh, topology = vertices[None].to(options.device), topology.to(options.device)
        view, centre = frontal(vertices, 256, 200, 1), (vertices.amax(0) + vertices.amin(0)) / 2
        shift = torch.tensor([2.0, -1.5, 0.0], device=options.device)
        for name, renderer in zip(options.renderers, others, strict=True):
            covered = differing = farthest = 0.0
            cosines, differences = torch.zeros(4), torch.zeros(4)
            for seed in range(options.poses):
                pose = turned(view, centre, seed).to(options.device)
                with torch.no_grad():
                    true, mine = (each(mesh, texture, topology, pose) for each in (oracle, renderer))
                    target = oracle(mesh + shift, texture, topology, pose).image
                same = true.triangle == mine.triangle
                covered, differing = covered + true.coverage.sum().item(), differing + (~same).sum().item()
                farthest = max(farthest, (true.image - mine.image).abs().amax(1)[same].max().item())
                given_both = [gradients(each, mesh, texture, topology, pose, target) for each in (oracle, renderer)]
                for k, (one, other) in enumerate(zip(*given_both, strict=True)):
                    cosines[k] += cosine_similarity(one.flatten(), other.flatten(), dim=0).cpu() / options.poses
                    differences[k] += ((one - other).norm() / one.norm()).cpu() / options.poses
            row = {"mesh": mesh_name, "renderer": name, "covered": int(covered), "other_triangle": int(differing)}
            row["image"] = float(f"{farthest:.1e}")
            row["cosine"] = {k: round(v, 4) for k, v in zip(names, cosines.tolist(), strict=True)}
            row["difference"] = {k: round(v, 4) for k, v in zip(names, differences.tolist(), strict=True)}
            if mesh_name == "sphere":
                seen = renderer(mesh.expand(1000, -1, -1), texture, topology, inside(1000).to(options.device))
                row["holes_from_inside"] = round((seen.triangle < 0).float().mean().item(), 6)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
