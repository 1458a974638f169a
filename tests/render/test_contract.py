"""What every renderer promises, asked of each of them."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import pickle
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import roma
import torch
from render_scenes import at, make, plain, quads, rectangle, smooth, sphere, straight
from torch.testing import assert_close

from lipflow_core.records import Topology

DEEP = torch.float64


def random(*shape, seed=0, dtype=DEEP):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def lumpy_sphere(dtype=DEEP, batch=1):
    """A sphere with bumps that hide one another."""
    vertices, topology = sphere(18, 24, dtype=DEEP)
    bumps = (
        1
        + 0.25 * torch.sin(vertices[:, :1] / 9) * torch.cos(vertices[:, 1:2] / 7)
        + 0.1 * torch.sin(vertices[:, 2:] / 5)
    )
    return (vertices * bumps).to(dtype).repeat(batch, 1, 1), topology


def scene(turn, dtype=torch.float32, batch=2, height=70, width=60):
    """Vertices, texture, topology, camera and background of a lumpy sphere seen by a camera per sample."""
    vertices, topology = lumpy_sphere(dtype, batch)
    cameras = [at(turn(0.3 * n, 0.5, 0.2 * n), 300, height, width, 150) for n in range(batch)]
    camera = replace(
        cameras[0],
        intrinsics=torch.cat([c.intrinsics for c in cameras]).to(dtype),
        extrinsics=torch.cat([c.extrinsics for c in cameras]).to(dtype),
    )
    background = smooth(8, batch=batch, seed=5, dtype=dtype)
    background = torch.nn.functional.interpolate(background, size=(height, width))
    return vertices, smooth(32, batch=batch, dtype=dtype), topology, camera, background


def gradients(renderer, vertices, texture, topology, camera, background, attributes=True):
    """Rendering, and gradients of a random linear function of it to vertices, texture, camera and background."""
    leaves = [vertices, texture, camera.intrinsics, camera.extrinsics, background]
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    camera = replace(camera, intrinsics=leaves[2], extrinsics=leaves[3])
    rendering = renderer(leaves[0], leaves[1], topology, camera, leaves[4])
    loss = (rendering.image * random(*rendering.image.shape, dtype=vertices.dtype)).sum()
    loss = loss + (rendering.coverage * random(*rendering.coverage.shape, seed=1, dtype=vertices.dtype)).sum()
    if attributes:
        loss = loss + (rendering.depth * random(*rendering.depth.shape, seed=2, dtype=vertices.dtype)).sum() / 50
        loss = loss + (rendering.barycentric * random(*rendering.barycentric.shape, seed=3, dtype=vertices.dtype)).sum()
    return rendering, torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("dtype", [torch.float32, DEEP])
def test_agrees_with_the_oracle(renderer, oracle, turn, dtype):
    given = scene(turn, dtype)
    mine, my_gradients = gradients(renderer, *given)
    true, true_gradients = gradients(oracle, *given)
    same = mine.triangle == true.triangle
    assert (~same).float().mean() <= 1e-3
    assert ((mine.image - true.image).abs().amax(1)[same]).max() <= 1e-4
    assert_close(mine.depth[same], true.depth[same], atol=2e-2, rtol=0)
    assert ((mine.barycentric - true.barycentric).abs().amax(1)[same]).max() <= 5e-3
    if dtype == DEEP:
        assert_close(my_gradients, true_gradients, atol=1e-6, rtol=1e-6)
    else:
        for one, other in zip(my_gradients, true_gradients, strict=True):
            assert (one - other).norm() <= 2e-2 * other.norm()


def test_interior_gradients_are_those_of_finite_differences(renderer, turn):
    renderer = make(renderer.config.renderer, edge_gradients=False)
    vertices, texture, topology, camera, background = scene(turn, DEEP, batch=1, height=20, width=24)
    camera = replace(camera, intrinsics=camera.intrinsics / torch.tensor([[3.0], [3.0], [1.0]], dtype=DEEP))
    given = [vertices, texture, camera.intrinsics, camera.extrinsics, background]
    _, analytic = gradients(renderer, vertices, texture, topology, camera, background)

    def loss(values):
        v, t, k, e, b = values
        r = renderer(v, t, topology, replace(camera, intrinsics=k, extrinsics=e), b)
        parts = (r.image, 1.0), (r.coverage, 1.0), (r.depth, 1 / 50), (r.barycentric, 1.0)
        return sum(weight * (x * random(*x.shape, seed=n)).sum() for n, (x, weight) in enumerate(parts))

    for n in range(len(given)):
        direction, step = random(*given[n].shape, seed=n + 10), 1e-6
        ahead, behind = list(given), list(given)
        ahead[n], behind[n] = given[n] + step * direction, given[n] - step * direction
        numeric = (loss(ahead) - loss(behind)) / (2 * step)
        assert_close((analytic[n] * direction).sum(), numeric, rtol=2e-5, atol=1e-6)


def shifted(vertices, side=12):
    """The same mesh side² times, on a lattice of shifts over one pixel of `straight(focal=100)` at 100 mm."""
    place = (torch.arange(side, dtype=DEEP) + 0.5) / side - 0.5
    shift = torch.cartesian_prod(place, place, torch.zeros(1, dtype=DEEP))
    return vertices + shift[:, None]


def test_silhouette_gradient_is_that_of_the_covered_area(renderer):
    tilted = [[-11.3, -6.2, 100], [7.4, -10.1, 100], [12.0, 5.5, 100], [-6.6, 9.3, 100]]
    vertices, topology = quads(tilted)
    scale = torch.tensor([1.0, 1.0, 1.0], dtype=DEEP, requires_grad=True)
    rendering = renderer(shifted(vertices * scale), plain(), topology, straight(40, 40, 100))
    area = rendering.coverage.sum() / len(rendering.coverage)
    (gradient,) = torch.autograd.grad(area, scale)
    x, y = torch.tensor(tilted, dtype=DEEP)[:, :2].unbind(1)
    true = 0.5 * (x * y.roll(-1) - x.roll(-1) * y).sum().abs()
    assert_close(area.detach(), true, rtol=0.01, atol=0)
    # Area goes as the product of the scales of x and y, and as depth to the power of -2.
    assert_close(gradient, true * torch.tensor([1.0, 1.0, -2.0], dtype=DEEP), rtol=0.02, atol=0)


def test_silhouette_gradient_reaches_the_camera(renderer):
    vertices, topology = quads(rectangle(-11.3, -8.2, 12.1, 9.4, 100))
    camera = straight(40, 40, 100)
    focal = torch.ones(2, dtype=DEEP, requires_grad=True)
    shift = torch.zeros(3, 1, dtype=DEEP, requires_grad=True)
    seen = replace(
        camera,
        intrinsics=camera.intrinsics @ torch.cat([focal, torch.ones(1, dtype=DEEP)]).diag(),
        extrinsics=camera.extrinsics + torch.cat([torch.zeros(3, 3, dtype=DEEP), shift], dim=1),
    )
    meshes = shifted(vertices)
    area = renderer(meshes, plain(), topology, seen).coverage.sum() / len(meshes)
    in_focal, in_shift = torch.autograd.grad(area, [focal, shift])
    true = (12.1 + 11.3) * (9.4 + 8.2)
    # Area goes as the product of both focal lengths, and as depth, here 100, to the power of -2; shifts leave it.
    assert_close(in_focal, true * torch.ones(2, dtype=DEEP), rtol=0.03, atol=0)
    assert_close(in_shift[:, 0], torch.tensor([0, 0, -2 * true / 100], dtype=DEEP), rtol=0.03, atol=0.3)


def test_occlusion_gradient_is_that_of_many_shifted_pictures(renderer):
    front = [[-6.3, -5.2, 100], [5.1, -7.1, 100], [7.0, 6.5, 100], [-4.6, 5.3, 100]]
    vertices, topology = quads(rectangle(-30, -30, 30, 30, 150), front)
    # The back is black, the front white: what is tested is the boundary, not the texture's gradient.
    uv = torch.tensor([[0.0, 1], [0.1, 1], [0.1, 0], [0.0, 0], [0.9, 1], [1.0, 1], [1.0, 0], [0.9, 0]])
    topology = replace(topology, uv=uv, uv_triangles=topology.triangles)
    texture = (torch.arange(16) >= 8).to(DEEP).expand(1, 1, 16, 16)
    weight = torch.linspace(-1, 1, 24, dtype=DEEP)[:, None] * torch.linspace(0.5, 2, 24, dtype=DEEP) + 2

    def loss(move):
        mesh = shifted(torch.cat([vertices[:4], vertices[4:] + move]))
        return (renderer(mesh, texture, topology, straight(24, 24, 100)).image * weight).sum() / len(mesh)

    move = torch.zeros(3, dtype=DEEP, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(move), move)
    with torch.no_grad():
        steps = torch.diag(torch.tensor([1.0, 1.0, 5.0], dtype=DEEP))
        numeric = torch.stack([(loss(step) - loss(-step)) / (2 * step.sum()) for step in steps])
    assert_close(gradient, numeric, rtol=0.03, atol=0.02 * numeric.abs().max().item())


def test_recovers_a_pose(renderer, turn):
    vertices, texture, topology, camera, background = scene(turn, torch.float32, batch=1, height=96, width=96)
    vertices = vertices * torch.tensor([1.0, 1.25, 0.8])
    with torch.no_grad():
        target = renderer(vertices, texture, topology, camera, background).image
    axis = torch.nn.functional.normalize(torch.tensor([0.5, -0.7, 0.4]), dim=0)
    start = torch.cat([axis * torch.pi / 36, torch.tensor([24.0, -18.0, 0.0]) / 100])
    pose = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([pose], betas=(0.9, 0.9))
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 0.04 * 0.002 ** (step / 150)
        moved = vertices @ roma.rotvec_to_rotmat(pose[:3]).T + 100 * pose[3:]
        image = renderer(moved, texture, topology, camera, background).image
        optimizer.zero_grad()
        (image - target).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        true, _ = camera.project(vertices)
        first, _ = camera.project(vertices @ roma.rotvec_to_rotmat(start[:3]).T + 100 * start[3:])
        found, _ = camera.project(vertices @ roma.rotvec_to_rotmat(pose[:3]).T + 100 * pose[3:])
    assert (first - true).norm(dim=-1).mean() > 14
    assert (found - true).norm(dim=-1).mean() < 0.05


def inside_views(turn, count, dtype=torch.float32):
    """A camera somewhere inside a sphere, in `count` poses."""
    vertices, topology = sphere(14, 20, dtype=DEEP)
    angles = random(count, 6, seed=8)
    rotations = torch.stack([turn(*row[:3].tolist()) for row in angles])
    place = 20 * torch.tanh(angles[:, 3:])
    camera = straight(12, 12, 4.5, DEEP, count)
    extrinsics = torch.cat([rotations, -(rotations @ place[..., None])], dim=-1)
    camera = replace(camera, intrinsics=camera.intrinsics.to(dtype), extrinsics=extrinsics.to(dtype))
    return vertices.to(dtype).expand(count, -1, -1), topology, camera


def test_closed_mesh_has_no_holes(renderer, turn):
    vertices, topology, camera = inside_views(turn, 1000)
    assert (renderer(vertices, plain(dtype=torch.float32), topology, camera).triangle >= 0).all()


def test_seams_and_inner_edges_are_no_silhouettes(turn, renderer):
    vertices, topology, camera = inside_views(turn, 20, DEEP)
    without = make(renderer.config.renderer, edge_gradients=False)
    found = []
    for each in (renderer, without):
        leaf = vertices.clone().requires_grad_()
        image = each(leaf, smooth(seed=6), topology, camera).image
        found += torch.autograd.grad((image * random(*image.shape)).sum(), leaf)
    assert_close(found[0], found[1], rtol=0, atol=0)


def test_any_number_of_threads_gives_the_same_bits(renderer, turn, threads):
    results = []
    for count in (1, 2, 3):
        threads(count)
        rendering, found = gradients(renderer, *scene(turn, torch.float32, batch=3))
        results.append([rendering.image, rendering.coverage, rendering.depth, rendering.barycentric, *found])
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_repeats_itself(renderer, turn, threads):
    threads(1)
    one, other = (gradients(renderer, *scene(turn))[1] for _ in range(2))
    assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


def resident() -> int:
    """Bytes that this process holds in memory now, but for those that are free to be taken again."""
    getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def growth(renderer, times) -> float:
    """Bytes by which the process grows with each of so many renders, of pictures of 48 kB."""
    vertices, topology = sphere(6, 8, dtype=torch.float32)
    camera = replace(
        straight(64, 64, 80, torch.float32),
        extrinsics=torch.eye(3, 4)[None] + torch.tensor([0, 0, 0, 120.0]) * torch.tensor([[0.0], [0.0], [1.0]]),
    )
    vertices, texture = vertices[None].requires_grad_(), smooth(8, dtype=torch.float32).requires_grad_()

    def draw(times):
        for _ in range(times):
            renderer(vertices, texture, topology, camera).image.sum().backward()
            vertices.grad = texture.grad = None
        return resident()

    before = draw(max(20, times // 5))
    return (draw(times) - before) / times


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc what the process holds")
def test_memory_does_not_grow(renderer):
    # The oracle is torch's own operations: fewer will do.
    slow = renderer.config.renderer == "torch"
    assert growth(renderer, 200 if slow else 1000) < (20_000 if slow else 4_000)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc what the process holds")
def test_memory_that_grows_would_be_noticed():
    renderer, kept = make("cpu"), []

    def hoarder(*given):
        made = renderer(*given)
        kept.append(made.image.detach().clone())
        return made

    assert growth(hoarder, 200) > 20_000


def test_draws_in_concurrent_threads(renderer, turn, threads):
    threads(2)
    given = scene(turn)
    alone = gradients(renderer, *given)[1]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: gradients(renderer, *given)[1], range(8)))
    for other in together:
        assert_close(other, alone)


def _draw_in_child(name, given, threads, pipe):
    torch.set_num_threads(threads)
    _, found = gradients(make(name), *given)
    pipe.send([gradient.numpy().tobytes() for gradient in found])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_draws_in_a_forked_worker(renderer, turn, threads):
    # torch's own OpenMP threads do not survive a fork: who draws with them is given one, as data loaders do.
    count = 1 if renderer.config.renderer in ("torch", "drtk") else 2
    threads(count)
    given = scene(turn)
    _, here = gradients(renderer, *given)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(
        target=_draw_in_child, args=(renderer.config.renderer, given, count, theirs)
    )
    child.start()
    try:
        assert ours.poll(60), "the forked worker did not answer"
        assert ours.recv() == [gradient.numpy().tobytes() for gradient in here]
    finally:
        child.kill()
        child.join()


def test_cuts_at_the_near_plane(renderer):
    floor = [[-900.0, 50, -700], [900, 50, -700], [900, 50, 500], [-900, 50, 500]]
    vertices, topology = quads(floor)
    camera = straight(41, 31, 40)
    rows = torch.arange(41, dtype=DEEP)[:, None].expand(41, 31) - 20
    true = 40 * 50 / rows.clamp(min=1e-9)
    for near in (1.0, 130.0):
        rendering = make(renderer.config.renderer, near=near)(vertices[None], plain(), topology, camera)
        hit = (true <= 500) & (true >= near)
        assert torch.equal(rendering.coverage[0] > 0, hit)
        assert_close(rendering.depth[0][hit], true[hit], rtol=1e-6, atol=0)


def test_gradients_hold_across_the_near_plane(renderer):
    floor = [[-900.0, 50, -700], [900, 50, -700], [900, 60, 500], [-900, 55, 500]]
    vertices, topology = quads(floor)
    renderer = make(renderer.config.renderer, edge_gradients=False)

    def loss(mesh):
        return (renderer(mesh[None], smooth(), topology, straight(30, 30, 40)).image * random(30, 30)).sum()

    leaf = vertices.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(leaf), leaf)
    direction = random(4, 3, seed=9)
    numeric = (loss(vertices + 1e-5 * direction) - loss(vertices - 1e-5 * direction)) / 2e-5
    assert_close((found * direction).sum(), numeric, rtol=1e-4, atol=1e-8)


def test_nothing_behind_the_camera_is_drawn(renderer):
    vertices, topology = quads(rectangle(-30, -30, 30, 30, -100))
    assert not renderer(vertices[None], plain(), topology, straight(20, 20, 20)).coverage.any()


def test_part_of_a_picture_is_the_picture_of_a_part(renderer, turn):
    vertices, texture, topology, camera, _ = scene(turn, DEEP, batch=1)
    intrinsics = camera.intrinsics.clone()
    intrinsics[:, 0, 2] -= 25
    intrinsics[:, 1, 2] -= 31
    whole = renderer(vertices, texture, topology, camera).image
    part = renderer(vertices, texture, topology, replace(camera, intrinsics=intrinsics, height=20, width=15)).image
    assert_close(part, whole[:, :, 31:51, 25:40])


def test_texels_lie_where_the_contract_says(renderer):
    vertices, topology = quads(rectangle(-0.5, -0.5, 7.5, 7.5, 10))
    camera = straight(8, 8, 10)
    camera = replace(
        camera, intrinsics=camera.intrinsics * torch.tensor([[1.0, 1, 0], [1, 1, 0], [1, 1, 1]], dtype=DEEP)
    )
    texture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=DEEP)
    assert_close(renderer(vertices[None], texture, topology, camera).image, texture)


def test_lower_of_two_equal_triangles_is_seen(renderer):
    vertices, topology = quads(rectangle(-5, -5, 5, 5, 10), rectangle(-5, -5, 5, 5, 10))
    assert renderer(vertices[None], plain(), topology, straight(9, 9, 10)).triangle.max() <= 1


def test_nearer_surface_is_seen_whatever_its_order(renderer):
    near, far = rectangle(-5, -5, 5, 5, 10), rectangle(-50, -50, 50, 50, 40)
    for order in ((near, far), (far, near)):
        vertices, topology = quads(*order)
        assert_close(
            renderer(vertices[None], plain(), topology, straight(5, 5, 10)).depth,
            torch.full((1, 5, 5), 10.0, dtype=DEEP),
        )


def test_one_texture_camera_and_background_serve_all_samples(renderer, turn):
    vertices, texture, topology, camera, background = scene(turn, DEEP, batch=3)
    camera = replace(camera, intrinsics=camera.intrinsics[:1], extrinsics=camera.extrinsics[:1])
    shared = gradients(renderer, vertices, texture[:1], topology, camera, background[:1])
    each = gradients(
        renderer,
        vertices,
        texture[:1].expand(3, -1, -1, -1),
        topology,
        replace(camera, intrinsics=camera.intrinsics.expand(3, 3, 3), extrinsics=camera.extrinsics.expand(3, 3, 4)),
        background[:1].expand(3, -1, -1, -1),
    )
    assert_close(shared[0].image, each[0].image)
    assert_close(shared[1][0], each[1][0])
    for one, all_of_them in zip(shared[1][1:], each[1][1:], strict=True):
        assert_close(one, all_of_them.sum(0, keepdim=True))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_draws_any_number_of_channels(renderer, oracle, turn, channels):
    vertices, _, topology, camera, _ = scene(turn, DEEP, batch=1, height=24, width=20)
    texture = smooth(channels=channels)
    assert_close(renderer(vertices, texture, topology, camera).image, oracle(vertices, texture, topology, camera).image)


def test_degenerate_triangles_give_finite_gradients(renderer):
    vertices, topology = sphere(6, 8)
    flat = vertices.clone()
    flat[:20] = flat[0]
    flat[20:30, 2] = 0
    flat[30:35, :2] = torch.linspace(0, 1, 5, dtype=DEEP)[:, None] * 40
    camera = straight(32, 32, 40)
    mesh = (flat + torch.tensor([0.0, 0, 90], dtype=DEEP))[None].float().requires_grad_()
    camera = replace(camera, intrinsics=camera.intrinsics.float(), extrinsics=camera.extrinsics.float())
    rendering = renderer(mesh, smooth(dtype=torch.float32), topology, camera)
    (rendering.image.sum() + rendering.coverage.sum() + rendering.depth.sum()).backward()
    assert rendering.image.isfinite().all()
    assert mesh.grad.isfinite().all()


def test_empty_batches_pictures_and_meshes(renderer, turn):
    vertices, texture, topology, camera, background = scene(turn, batch=1)
    nobody = renderer(vertices[:0], texture, topology, camera)
    assert nobody.image.shape == (0, 3, 70, 60) and nobody.depth.shape == (0, 70, 60)
    away = vertices + 1e5
    leaf = away.clone().requires_grad_()
    empty = renderer(leaf, texture, topology, camera, background)
    assert torch.equal(empty.image, background) and (empty.triangle == -1).all()
    empty.image.sum().backward()
    assert not leaf.grad.any()
    none = Topology(topology.triangles[:0], topology.uv, topology.uv_triangles[:0])
    assert not renderer(vertices, texture, none, camera).coverage.any()


def test_only_gradients_asked_for_are_computed(renderer, turn):
    vertices, texture, topology, camera, background = scene(turn, batch=1)
    texture = texture.clone().requires_grad_()
    renderer(vertices, texture, topology, camera, background).image.sum().backward()
    assert texture.grad.any() and vertices.grad is None


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_no_uv_reaches_outside_the_texture(renderer, turn, value):
    # A damaged model must not end the process: kernels index with what they make of uv.
    vertices, texture, topology, camera, background = scene(turn, batch=1)
    uv = topology.uv.clone()
    uv[::3] = value
    try:
        renderer(vertices, texture, Topology(topology.triangles, uv, topology.uv_triangles), camera, background)
    except ValueError as error:
        assert "uv" in str(error)


def turned_over(topology):
    topology.triangles.copy_(topology.triangles.flip(0)), topology.uv_triangles.copy_(topology.uv_triangles.flip(0))


def with_optimised_uv(topology):
    """A step of a fused optimiser: it changes a tensor, and torch's count of changes stays as it was."""
    before = topology.uv._version
    topology.uv.grad = torch.ones_like(topology.uv)
    torch.optim.SGD([topology.uv], lr=0.1, fused=True).step()
    assert topology.uv._version == before, "torch counts fused steps by now: this test needs another change"


@pytest.mark.parametrize("change", [turned_over, with_optimised_uv])
def test_a_topology_that_was_changed_in_place_is_seen(renderer, turn, change):
    vertices, texture, topology, camera, background = scene(turn, batch=1)
    own = topology.apply(torch.clone)
    leaf = vertices.clone().requires_grad_()

    def drawn(topology):
        made = renderer(leaf, texture, topology, camera, background)
        return made.image.detach(), made.triangle, torch.autograd.grad(made.image.square().sum(), leaf)[0]

    before = drawn(own)
    change(own)
    after = drawn(own)
    assert not (torch.equal(before[0], after[0]) and torch.equal(before[1], after[1]))
    for one, other in zip(after, drawn(own.apply(torch.clone)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_indices_may_be_of_any_integer_type(renderer, dtype):
    vertices, topology = quads(rectangle(-5, -5, 5, 5, 10), rectangle(-2, -2, 2, 2, 8))
    given = (vertices[None], smooth(), topology, straight(9, 9, 10))
    narrow = replace(topology, triangles=topology.triangles.to(dtype), uv_triangles=topology.uv_triangles.to(dtype))
    assert torch.equal(renderer(given[0], given[1], narrow, given[3]).image, renderer(*given).image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: replace(t, triangles=t.triangles.float()),
            "topology.triangles must hold integers .* not torch.float32",
        ),
        (lambda t: replace(t, uv_triangles=t.uv_triangles > 0), "topology.uv_triangles must hold integers"),
        (
            lambda t: replace(t, triangles=t.triangles[:, :2]),
            r"topology.triangles must have shape \(F, 3\), not \(4, 2\)",
        ),
        (lambda t: replace(t, uv=t.uv[:, :1]), r"topology.uv must have shape \(U, 2\), not \(4, 1\)"),
        (lambda t: replace(t, triangles=t.triangles[:3]), "topology has 3 triangles but 4 uv triangles"),
        (lambda t: replace(t, triangles=t.triangles - 1), "topology.triangles contains index -1; indices start at 0"),
        (lambda t: replace(t, uv_triangles=t.uv_triangles - 1), "topology.uv_triangles contains index -1"),
        (lambda t: replace(t, uv_triangles=t.uv_triangles + 1), "contains index 4; the greatest that is valid is 3"),
        (lambda t: replace(t, triangles=t.triangles + 1), "use vertex 8, but only 8 are given"),
        (lambda t: replace(t, uv=t.uv / 0), "topology.uv contains NaN or infinity"),
    ],
    ids=[
        "reals",
        "booleans",
        "pairs",
        "one coordinate",
        "numbers that differ",
        "a negative vertex",
        "a negative texel",
        "a texel too high",
        "a vertex too high",
        "infinite uv",
    ],
)
def test_a_topology_that_is_not_one_is_refused(renderer, change, message):
    vertices, topology = quads(rectangle(-5, -5, 5, 5, 10), rectangle(-2, -2, 2, 2, 8))
    with pytest.raises(ValueError, match=message):
        renderer(vertices[None], smooth(), change(topology), straight(9, 9, 10))


def test_mixed_and_low_precision_is_drawn_in_single(renderer, turn):
    vertices, texture, topology, camera, background = scene(turn)
    plain_image = renderer(vertices, texture, topology, camera, background).image
    deep = replace(camera, intrinsics=camera.intrinsics.double(), extrinsics=camera.extrinsics.double())
    for one, other in ((texture.double(), camera), (texture, deep)):
        assert_close(renderer(vertices, one, topology, other, background).image, plain_image, atol=1e-4, rtol=0)
    assert renderer(vertices.bfloat16(), texture.half(), topology, camera, background).image.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(renderer(vertices, texture, topology, camera, background).image, plain_image)


def test_textures_without_texels_are_refused(renderer, turn):
    vertices, texture, topology, camera, _ = scene(turn)
    for rows, columns in ((0, 0), (0, 4), (4, 0)):
        with pytest.raises(ValueError, match="no texels"):
            renderer(vertices, texture[..., :rows, :columns], topology, camera)


def test_many_cameras_look_at_each_sample(renderer, turn):
    vertices, texture, topology, one, background = scene(turn)
    other = replace(one, intrinsics=one.intrinsics.flip(0), extrinsics=one.extrinsics.flip(0))
    cameras = replace(
        one,
        intrinsics=torch.stack([one.intrinsics, other.intrinsics], dim=1),
        extrinsics=torch.stack([one.extrinsics, other.extrinsics], dim=1),
    )
    for given in (texture, texture[:1]):
        leaves = [vertices.clone().requires_grad_(), given.clone().requires_grad_()]
        behind = background.repeat_interleave(2, dim=0)
        made = renderer(*leaves, topology, cameras, behind)
        apart = [renderer(*leaves, topology, camera, background) for camera in (one, other)]
        images = torch.stack([rendering.image for rendering in apart], dim=1).flatten(0, 1)
        assert torch.equal(made.image, images)
        assert torch.equal(made.depth, torch.stack([rendering.depth for rendering in apart], dim=1).flatten(0, 1))
        weight = random(*images.shape, dtype=images.dtype)
        wanted = torch.autograd.grad((images * weight).sum(), leaves)
        assert_close(torch.autograd.grad((made.image * weight).sum(), leaves), wanted, rtol=1e-4, atol=1e-4)


def test_each_sample_may_have_a_topology_of_its_own(renderer, turn):
    vertices, texture, topology, camera, background = scene(turn, batch=3)
    half = Topology(topology.triangles[::2], topology.uv, topology.uv_triangles[::2])
    made = renderer(vertices, texture, [topology, half, half], camera, background)
    for row, own in enumerate((topology, half, half)):
        alone = renderer(vertices[[row]], texture[[row]], own, camera.rows(torch.tensor([row])), background[[row]])
        assert torch.equal(made.image[row], alone.image[0])
        assert torch.equal(made.triangle[row], alone.triangle[0])
    with pytest.raises(ValueError, match="2 topologies for 3 samples"):
        renderer(vertices, texture, [topology, half], camera)
    none = renderer(vertices[:0], texture[:0], [], camera.rows(slice(0, 0)))
    assert none.image.shape == (0, 3, camera.height, camera.width)


def test_what_is_read_late_is_as_if_it_had_been_read_at_once(renderer, turn):
    vertices, texture, topology, camera, _ = scene(turn)
    vertices.requires_grad_()
    made = renderer(vertices, texture, topology, camera)
    with torch.no_grad():
        made.coverage.mean(), made.depth.mean()
    assert torch.autograd.grad(made.coverage.sum() + made.depth.sum(), vertices)[0].abs().sum() > 0
    with torch.no_grad():
        made = renderer(vertices, texture, topology, camera)
    assert not made.coverage.requires_grad and not made.depth.requires_grad


def added_to(vertices):
    with torch.no_grad():
        vertices.add_(100)


def optimised(vertices):
    """A step of a fused optimiser, which torch does not count as a change."""
    vertices.grad = torch.ones_like(vertices)
    torch.optim.SGD([vertices], lr=100.0, fused=True).step()


@pytest.mark.parametrize("change", [added_to, optimised])
def test_vertices_that_change_later_do_not_mix_with_what_was_drawn(renderer, turn, change):
    vertices, texture, topology, camera, _ = scene(turn)

    def read(made, leaf):
        loss = sum((part * random(*part.shape, dtype=part.dtype)).sum() for part in (made.coverage, made.depth))
        return made.coverage.detach(), made.depth.detach(), torch.autograd.grad(loss, leaf)[0]

    leaf = vertices.clone().requires_grad_()
    at_once = read(renderer(leaf, texture, topology, camera), leaf)
    made = renderer(leaf, texture, topology, camera)
    change(leaf)
    for one, other in zip(read(made, leaf), at_once, strict=True):
        assert_close(one, other, rtol=0, atol=0)


def test_renderings_can_be_sent_to_another_process(renderer, turn):
    made = renderer(*scene(turn))
    copied = pickle.loads(pickle.dumps(made))
    for name in ("image", "coverage", "depth", "triangle", "barycentric"):
        assert torch.equal(getattr(copied, name), getattr(made, name))
