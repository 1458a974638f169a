"""What only renderer `cpu` promises."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from lipflow_render.cpu import buffers
from render_scenes import make, quads, rectangle, smooth, sphere, straight
from torch.testing import assert_close

from lipflow_core.records import Camera

DEEP = torch.float64


def ball():
    """Vertices, texture, topology and camera of a sphere before the camera."""
    vertices, topology = sphere(6, 8, dtype=torch.float32)
    vertices = (vertices + torch.tensor([0, 0, 120.0]))[None]
    return vertices, smooth(8, dtype=torch.float32), topology, straight(24, 20, 40, torch.float32)


def test_compiles_into_one_graph():
    vertices, texture, topology, camera = ball()
    renderer = make("cpu")

    def loss(vertices, texture):
        rendering = renderer(vertices, texture, topology, camera)
        return (rendering.image.square().sum() + rendering.coverage.sum()) * 2 + rendering.depth.sum()

    leaves = [vertices.clone().requires_grad_(), texture.clone().requires_grad_()]
    plain = torch.autograd.grad(loss(*leaves), leaves)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert_close(torch.autograd.grad(compiled(*leaves), leaves), plain)


def test_operators_are_registered_as_they_behave():
    from lipflow_render.cpu import cpu_operators

    vertices, texture, topology, camera = ball()
    vertices, texture = vertices.requires_grad_(), texture.requires_grad_()
    background = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
    projection = (camera.intrinsics.double() @ camera.extrinsics.double()).requires_grad_()
    parts = (topology.triangles, topology.uv, topology.uv_triangles)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    given = (vertices, projection, texture, background, *parts, 12, 10, 1.0, True)
    torch.library.opcheck(cpu_operators.draw, given, test_utils=checks)
    _, *saved = cpu_operators.draw(*given)
    torch.library.opcheck(cpu_operators.coverage, (vertices, projection, *parts, *saved, 1.0), test_utils=checks)
    torch.library.opcheck(cpu_operators.attributes, (vertices, projection, *parts, *saved, 1.0), test_utils=checks)


def pictures(threads, batch, shared):
    """An image drawn in many bands and summed in several strips, and its gradients."""
    vertices, _, topology, _ = ball()
    camera = straight(600, 90, 200, torch.float32)
    camera = Camera(camera.intrinsics.expand(1, 3, 3), camera.extrinsics, 600, 90)
    shift = torch.linspace(0, 30, batch)[:, None, None]
    leaves = [vertices + shift, smooth(40, batch=1 if shared else batch, dtype=torch.float32)]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    torch.set_num_threads(threads)
    image = make("cpu")(leaves[0], leaves[1], topology, camera).image
    weight = torch.randn(image.shape, generator=torch.Generator().manual_seed(3))
    return image, *torch.autograd.grad((image * weight).sum(), leaves)


def test_threads_share_one_picture_and_one_texture_to_the_bit(threads):
    for batch, shared in ((1, True), (2, False), (3, False), (5, True)):
        alone = pictures(1, batch, shared)
        for count in (2, 3, 5):
            for one, other in zip(pictures(count, batch, shared), alone, strict=True):
                assert torch.equal(one, other)


@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize(("batch", "height"), [(0, 20), (2, 0)], ids=["no samples", "no rows"])
def test_what_shows_nothing_passes_no_gradient(batch, height, edges, threads):
    vertices, _, topology, _ = ball()
    leaves = [vertices.expand(batch, -1, -1), smooth(8, batch=2, dtype=torch.float32)[:batch]]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    camera = straight(20, 24, 40, torch.float32)
    camera = Camera(camera.intrinsics.expand(1, 3, 3), camera.extrinsics, height, 24)
    for count in (1, 3):
        threads(count)
        image = make("cpu", edge_gradients=edges)(*leaves, topology, camera).image
        for gradient, leaf in zip(torch.autograd.grad(image.sum(), leaves), leaves, strict=True):
            assert gradient.shape == leaf.shape
            assert not gradient.any()


def test_textures_of_one_texel_in_a_direction_are_drawn():
    vertices, topology = quads(rectangle(-5, -5, 5, 5, 10))
    for height, width in ((1, 1), (1, 3), (4, 1)):
        texture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=DEEP)
        given = (vertices[None], texture.requires_grad_(), topology, straight(9, 7, 8))
        mine, true = make("cpu")(*given).image, make("torch")(*given).image
        assert_close(mine, true)
        assert_close(
            torch.autograd.grad(mine.square().sum(), texture), torch.autograd.grad(true.square().sum(), texture)
        )


@pytest.mark.parametrize("dtype", [torch.float32, DEEP])
def test_gradients_of_large_textures_are_those_of_the_oracle(threads, dtype):
    """Sizes at which they go past the caches, and at which rows do not begin where that takes them."""
    vertices, _, topology, camera = ball()
    vertices = torch.cat([vertices, vertices + 3]).to(dtype)
    for channels, width, count in ((3, 520, 1), (3, 515, 2), (1, 1024, 1), (4, 520, 2), (5, 520, 1)):
        texture = torch.rand(count, channels, 600, width, generator=torch.Generator().manual_seed(2), dtype=dtype)
        texture.requires_grad_()
        images = [make(name)(vertices, texture, topology, camera).image for name in ("cpu", "torch")]
        weight = torch.randn(images[0].shape, generator=torch.Generator().manual_seed(3))
        true = torch.autograd.grad((images[1] * weight).sum(), [texture])[0]
        for number in (1, 2, 3):
            threads(number)
            mine = torch.autograd.grad((images[0] * weight).sum(), [texture], retain_graph=True)[0]
            assert_close(mine, true, rtol=0, atol=1e-3 if dtype == torch.float32 else 1e-10)


@pytest.fixture
def nothing_kept(monkeypatch):
    monkeypatch.setattr(buffers, "_blocks", deque())


def test_memory_is_drawn_in_again_when_nobody_holds_it_and_never_before(nothing_kept):
    shape = (buffers.SMALL + 100,)
    first = buffers.buffer(shape, torch.int8)
    place = first.data_ptr()
    assert place % buffers.LINE == 0
    seen = first[7:].numpy()
    del first
    other = buffers.buffer(shape, torch.int8)
    assert other.data_ptr() != place, "a view still shows it"
    other.fill_(1)
    seen[:] = 2
    assert (other == 1).all()
    del seen
    little_less = buffers.buffer((buffers.SMALL,), torch.int8)
    assert little_less.data_ptr() == place


def test_memory_that_is_kept_is_bounded(nothing_kept, monkeypatch):
    def kept():
        return sum(block.nbytes for block, _ in buffers._blocks)

    monkeypatch.setattr(buffers, "KEPT", 5 * buffers.SMALL)
    held = [buffers.buffer((buffers.SMALL + n * buffers.SMALL // 4,), torch.int8) for n in range(6)]
    assert 0 < kept() <= buffers.KEPT
    del held
    before = kept()
    assert 0 < before <= buffers.KEPT
    buffers.buffer((buffers.KEPT,), torch.int8)
    assert kept() == before, "what is too large to be kept pushes nothing out"
    late = buffers.buffer((3 * buffers.SMALL,), torch.int8)
    place = late.data_ptr()
    del late
    assert buffers.buffer((3 * buffers.SMALL,), torch.int8).data_ptr() == place, "the new pushes out the old"
    assert kept() <= buffers.KEPT
