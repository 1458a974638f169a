"""The adapters to DRTK and nvdiffrast.

Where a package is not installed its adapter draws with `reference_drtk` or `reference_nvdiffrast`, which state the
package's documented conventions in plain torch: what is proven then are the conversions, not the package. Where DRTK is
installed, the contract suite asks the adapter over DRTK itself as well; nvdiffrast itself needs a GPU.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import pytest
import reference_drtk
import reference_nvdiffrast
import torch
from lipflow_render.adapters import conventions
from lipflow_render.adapters.drtk_renderer import DrtkRenderer
from lipflow_render.adapters.nvdiffrast_renderer import NvdiffrastRenderer
from lipflow_render.adapters.packages import DRTK, NVDIFFRAST
from lipflow_render.config import DrtkRendererConfig, NvdiffrastRendererConfig
from render_scenes import at, make, plain, quads, rectangle, smooth, sphere, straight
from torch.testing import assert_close

from lipflow_core.errors import PluginError
from lipflow_core.plans import Mismatch, RendererInputs
from lipflow_core.records import Topology

DEEP = torch.float64


def over_drtk(**options):
    return DrtkRenderer(DrtkRendererConfig(**options), given("cpu"), reference_drtk)


def over_nvdiffrast(**options):
    return NvdiffrastRenderer(NvdiffrastRendererConfig(**options), given("cuda"), reference_nvdiffrast)


def over_installed_drtk(**options):
    if not DRTK.is_installed():
        pytest.skip("DRTK is not installed")
    return DrtkRenderer(DrtkRendererConfig(**options), given("cpu"))


def given(device):
    return RendererInputs(device=device, vertices=4, triangles=2, texture=(3, 8, 8))


MAKERS = {"DRTK's conventions": over_drtk, "nvdiffrast's conventions": over_nvdiffrast, "DRTK": over_installed_drtk}


@pytest.fixture(params=MAKERS)
def adapter(request):
    return MAKERS[request.param]


def scene(turn, height=34, width=45):
    """Two bumpy spheres, each with its camera; wider than high, the principal point off the middle."""
    vertices, topology = sphere(9, 12)
    bumps = 1 + 0.2 * torch.sin(vertices[:, :1] / 9) * torch.cos(vertices[:, 1:2] / 7)
    vertices = (vertices * bumps).float().expand(2, -1, -1)
    cameras = [at(turn(0.3 * n, 0.5, 0.2 * n), 300, height, width, 90) for n in range(2)]
    intrinsics = torch.cat([c.intrinsics for c in cameras])
    intrinsics[:, :2, 2] += torch.tensor([2.3, -1.7])
    camera = replace(cameras[0], intrinsics=intrinsics, extrinsics=torch.cat([c.extrinsics for c in cameras]))
    background = torch.nn.functional.interpolate(smooth(8, batch=2, seed=5), size=(height, width))
    return vertices, smooth(32, batch=2).float(), topology, camera.apply(torch.Tensor.float), background.float()


def agreement(mine, true):
    """Whether triangles agree but for 0.1 % of pixels; where they do, all else is compared."""
    same = mine.triangle == true.triangle
    assert (~same).float().mean() <= 1e-3
    assert (mine.image - true.image).abs().amax(1)[same].max() <= 1e-4
    assert torch.equal(mine.coverage[same], true.coverage[same])
    assert_close(mine.depth[same], true.depth[same], atol=2e-2, rtol=0)
    assert (mine.barycentric - true.barycentric).abs().amax(1)[same].max() <= 5e-3


def test_draws_what_the_oracle_draws(adapter, oracle, turn):
    agreement(adapter()(*scene(turn)), oracle(*scene(turn)))


def test_a_grey_texture_that_is_not_square_and_no_background(adapter, oracle, turn):
    vertices, texture, topology, camera, _ = scene(turn)
    given = (vertices, texture[:1, :1, :20], topology, camera)
    agreement(adapter()(*given), oracle(*given))


def test_one_camera_serves_all_samples(adapter, oracle, turn):
    vertices, texture, topology, camera, background = scene(turn)
    camera = replace(camera, intrinsics=camera.intrinsics[:1], extrinsics=camera.extrinsics[:1])
    given = (vertices, texture[:1], topology, camera, background[:1])
    agreement(adapter()(*given), oracle(*given))


def test_interior_gradients_are_the_oracles(adapter, turn):
    vertices, texture, topology, camera, background = scene(turn)
    found = []
    for renderer in (adapter(edge_gradients=False), make("torch", edge_gradients=False)):
        leaves = [vertices, texture, camera.intrinsics, camera.extrinsics, background]
        leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
        rendering = renderer(
            leaves[0], leaves[1], topology, replace(camera, intrinsics=leaves[2], extrinsics=leaves[3]), leaves[4]
        )
        generator = torch.Generator().manual_seed(0)
        loss = sum(
            (part * torch.randn(part.shape, generator=generator)).sum() * scale
            for part, scale in ((rendering.image, 1), (rendering.depth, 1 / 50), (rendering.barycentric, 1))
        )
        found.append(torch.autograd.grad(loss, leaves))
    for mine, true in zip(*found, strict=True):
        assert (mine - true).norm() <= 2e-2 * true.norm()


def lattice(side=6):
    """Shifts over one pixel of `straight(focal=100)` at 100 mm."""
    place = (torch.arange(side) + 0.5) / side - 0.5
    return torch.cartesian_prod(place, place, torch.zeros(1))[:, None]


def test_silhouettes_move_with_the_area_that_they_enclose(adapter):
    corners = torch.tensor([[-9.3, -5.2, 100], [6.4, -8.1, 100], [9.0, 4.5, 100], [-5.6, 7.3, 100]])
    _, topology = quads(corners.tolist())
    scale = torch.ones(3, requires_grad=True)
    camera = straight(24, 28, 100, torch.float32)
    coverage = adapter()(corners * scale + lattice(), plain(dtype=torch.float32), topology, camera).coverage
    area = coverage.sum() / len(coverage)
    (gradient,) = torch.autograd.grad(area, scale)
    x, y = corners[:, :2].unbind(1)
    true = 0.5 * (x * y.roll(-1) - x.roll(-1) * y).sum().abs()
    assert_close(area.detach(), true, rtol=0.01, atol=0)
    # Both packages move the points that pixels show, which lie up to half a pixel within the edge or beyond it.
    assert_close(gradient, true * torch.tensor([1.0, 1.0, -2.0]), rtol=0.1, atol=0)


def test_boundaries_between_surfaces_move_with_the_one_in_front(adapter):
    back = [[-90.0, -90, 150], [270, -90, 150], [-90, 270, 150]]
    front = [[-6.3, -5.2, 100], [5.1, -7.1, 100], [0.4, 6.5, 100]]
    vertices = torch.tensor([back, front])
    uv = torch.tensor([[0.05, 0.5], [0.95, 0.5]])
    topology = Topology(torch.arange(6).view(2, 3), uv, torch.tensor([[0, 0, 0], [1, 1, 1]]))
    texture = (torch.arange(16) >= 8).float().expand(1, 1, 16, 16)
    move = torch.zeros(2, 1, 3, requires_grad=True)
    mesh = (vertices + move).flatten(0, 1) + lattice()
    ramp = torch.linspace(0, 24, 25)[:24].expand(24, 24)
    image = adapter()(mesh, texture, topology, straight(24, 24, 100, torch.float32)).image
    (gradient,) = torch.autograd.grad((image * ramp).sum() / len(mesh), move)
    # White on black under weights that rise by 1 a column: the sum grows by the front's area as that moves right.
    (x, y), (x2, y2) = ((vertices[1, n] - vertices[1, 0])[:2].tolist() for n in (1, 2))
    assert_close(gradient[1, 0, :2], torch.tensor([(x * y2 - y * x2) / 2, 0.0]), rtol=0.05, atol=3.0)
    assert not gradient[0].any()


def test_what_is_nearer_than_near_is_not_drawn(adapter):
    vertices, topology = quads(rectangle(-5, -5, 5, 5, 10), rectangle(-50, -50, 50, 50, 40), dtype=torch.float32)
    for near, seen in ((1.0, 10.0), (9.9, 10.0), (10.1, 40.0), (39.9, 40.0)):
        depth = adapter(near=near)(vertices[None], plain(), topology, straight(5, 5, 10, torch.float32)).depth
        assert_close(depth, torch.full((1, 5, 5), seen), rtol=1e-5, atol=0)


def test_nothing_is_drawn_of_what_is_behind_the_camera_or_not_there(adapter, turn):
    vertices, texture, topology, camera, background = scene(turn)
    renderer = adapter()
    away = (vertices - torch.tensor([0.0, 0.0, 1e5])).requires_grad_()
    nothing = renderer(away, texture, topology, camera, background)
    assert torch.equal(nothing.image, background) and not nothing.coverage.any()
    nothing.image.sum().backward()
    assert not away.grad.any()
    none = Topology(topology.triangles[:0], topology.uv, topology.uv_triangles[:0])
    assert torch.equal(renderer(vertices, texture, none, camera, background).image, background)
    nobody = renderer(
        vertices[:0],
        texture[:1],
        topology,
        replace(camera, intrinsics=camera.intrinsics[:1], extrinsics=camera.extrinsics[:1]),
    )
    assert nobody.image.shape == (0, 3, 34, 45) and nobody.barycentric.shape == (0, 3, 34, 45)


def test_refuses_indices_and_uv_that_lead_outside(adapter, turn):
    vertices, texture, topology, camera, _ = scene(turn)
    nan, beyond = topology.uv.clone(), topology.uv_triangles.clone()
    nan[3], beyond[3] = torch.nan, 10_000
    wrong = {
        "NaN": replace(topology, uv=nan),
        "uv_triangles contains index 10000": replace(topology, uv_triangles=beyond),
        "but only": replace(topology, triangles=topology.triangles + len(vertices[0])),
    }
    for message, each in wrong.items():
        with pytest.raises(ValueError, match=message):
            adapter()(vertices, texture, each, camera)


def test_a_topology_changed_in_place_is_seen(adapter, turn):
    vertices, texture, topology, camera, _ = scene(turn)
    own, renderer = topology.apply(torch.clone), adapter()
    before = renderer(vertices, texture, own, camera).triangle
    own.triangles.copy_(own.triangles.flip(0)), own.uv_triangles.copy_(own.uv_triangles.flip(0))
    after = renderer(vertices, texture, own, camera).triangle
    assert torch.equal(after[after >= 0], len(topology.triangles) - 1 - before[before >= 0])


# The conversions themselves.


def test_nvdiffrasts_pixel_centres_are_ours_half_a_pixel_on():
    height, width = 5, 7
    column, row = torch.meshgrid(torch.arange(7.0), torch.arange(5.0), indexing="xy")
    depth = 3 + column + row
    seen = torch.stack([column * depth, row * depth, depth], dim=-1).view(1, -1, 3).double()
    clip = conventions.clip_points(seen, 1.0, height, width).view(height, width, 4)
    screen = (clip[..., :2] / clip[..., 3:] + 1) / 2 * torch.tensor([width, height])
    assert_close(screen[..., 0], column.double() + 0.5)
    assert_close(screen[..., 1], row.double() + 0.5)
    assert_close(clip[..., 3], depth.double())


@pytest.mark.parametrize("near", [1.0, 300.0, 950.0])
def test_clip_space_ends_at_the_near_plane_and_holds_all_beyond(near):
    depth = torch.tensor([[-50.0, 0.5, 1.0, 299.0, 300.0, 949.0, 950.0, 1200.0]], dtype=DEEP)
    seen = torch.stack([torch.zeros_like(depth), torch.zeros_like(depth), depth], dim=-1)
    _, _, z, w = conventions.clip_points(seen, near, 4, 4).unbind(-1)
    kept = (z >= -w * (1 + 1e-12)) & (z <= w) & (w > 0)
    assert torch.equal(kept, depth >= near)
    order = (z / w)[depth >= near]
    assert (order.diff() > 0).all()


def test_depth_range_is_tight_where_it_can_be():
    first, last = conventions.depth_range(torch.tensor([[900.0, 1100.0], [-5.0, 20.0], [-5.0, -3.0]]), 1.0)
    assert_close(first[:, 0], torch.tensor([891.0, 1.0, 1.0]))
    assert_close(last[:, 0], torch.tensor([1111.0, 20.2, 1.01]))


def test_drtks_points_are_pixels_and_what_is_too_near_is_behind():
    seen = torch.tensor([[[30.0, 60.0, 10.0], [3.0, 6.0, 0.9], [1.0, 1.0, 0.0], [4.0, 4.0, -2.0]]], requires_grad=True)
    points = conventions.drtk_points(seen, 1.0)
    assert_close(points[0, 0], torch.tensor([3.0, 6.0, 10.0]))
    assert (points[0, 1:, 2] == -1).all()
    points.sum().backward()
    assert seen.grad.isfinite().all() and not seen.grad[0, 1:].any()


def test_texture_rows_are_turned_over_for_nvdiffrast_and_sampled_as_they_are_for_drtk():
    uv = torch.tensor([[0.0, 1.0], [1.0, 0.25]])
    assert_close(conventions.upside_down(uv), torch.tensor([[0.0, 0.0], [1.0, 0.75]]))
    assert_close(conventions.sampling_grid(uv), torch.tensor([[-1.0, -1.0], [1.0, 0.5]]))


def test_nvdiffrasts_raster_gives_indices_from_zero_and_three_weights():
    raster = torch.tensor([[[[0.2, 0.5, -0.9, 8.0], [0.0, 0.0, 0.0, 0.0]]]])
    assert conventions.triangles_hit(raster).tolist() == [[[7, -1]]]
    assert_close(conventions.corner_weights(raster)[0, :, 0], torch.tensor([[0.2, 0.0], [0.5, 0.0], [0.3, 0.0]]))


# Finding the packages.


@pytest.fixture
def without(monkeypatch, tmp_path):
    """Hide what is installed of a package; gives the folder to install something of its name into."""
    hidden = []

    def modules(name):
        return [module for module in sys.modules if module.partition(".")[0] == name]

    def hide(package):
        hidden.append(package.name)
        for name in modules(package.name):
            monkeypatch.delitem(sys.modules, name)
        elsewhere = [place for place in sys.path if not importlib.machinery.PathFinder.find_spec(package.name, [place])]
        monkeypatch.setattr(sys, "path", [str(tmp_path), *elsewhere])
        importlib.invalidate_caches()
        return tmp_path

    yield hide
    for module in [module for name in hidden for module in modules(name)]:
        del sys.modules[module]


@pytest.mark.parametrize("package", [DRTK, NVDIFFRAST], ids=lambda package: package.name)
def test_one_sentence_says_what_is_missing_how_to_get_it_and_its_licence(without, package):
    without(package)
    with pytest.raises(PluginError) as refused:
        package.load()
    said = str(refused.value)
    assert f"renderer '{package.name}' needs {package.name}, which is not installed" in said
    assert f"git+https://{package.source}.git" in said and package.licence in said


@pytest.mark.parametrize(
    ("package", "config", "device"),
    [(DRTK, DrtkRendererConfig, "cpu"), (NVDIFFRAST, NvdiffrastRendererConfig, "cuda")],
    ids=["drtk", "nvdiffrast"],
)
def test_another_package_of_the_name_is_recognised_and_never_run(without, package, config, device):
    folder = without(package) / package.name
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('the wrong package was run')")
    for use in (package.load, lambda: config().plan(given(device))):
        with pytest.raises(PluginError, match="is another package of that name") as refused:
            use()
        assert f"pip uninstall {package.name}" in str(refused.value)


def test_a_package_that_does_not_import_is_told_from_one_that_is_not_there(without):
    folder = without(DRTK) / "drtk"
    folder.mkdir()
    (folder / "rasterize_ext.so").touch()
    (folder / "__init__.py").write_text("raise ImportError('undefined symbol')")
    with pytest.raises(PluginError, match="importing drtk failed: ImportError: undefined symbol"):
        DRTK.load()
    (folder / "__init__.py").write_text("rasterize = render = interpolate = None\n# of an older version")
    importlib.invalidate_caches()
    with pytest.raises(PluginError, match="needs edge_grad_estimator of drtk"):
        DRTK.load()


def test_nvdiffrast_is_refused_without_a_gpu():
    with pytest.raises(Mismatch, match="runs on cuda, not on device 'cpu'"):
        NvdiffrastRendererConfig().plan(given("cpu"))


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["drtk", "nvdiffrast"])
def test_draws_what_the_oracle_draws_on_a_gpu(name, oracle, turn):
    package = {"drtk": DRTK, "nvdiffrast": NVDIFFRAST}[name]
    if not package.is_installed() or not torch.cuda.is_available():
        pytest.skip(f"{name} is not installed, or there is no GPU")
    maker = {
        "drtk": lambda: DrtkRenderer(DrtkRendererConfig(), given("cuda")),
        "nvdiffrast": lambda: NvdiffrastRenderer(NvdiffrastRendererConfig(), given("cuda")),
    }[name]
    vertices, texture, topology, camera, background = scene(turn, 200, 160)
    parts = [part.to("cuda") for part in (vertices, texture, topology, camera, background)]
    mine, true = maker()(*parts).apply(torch.Tensor.cpu), oracle(vertices, texture, topology, camera, background)
    same = mine.triangle == true.triangle
    # nvdiffrast snaps vertices to sixteenths of a pixel, which moves the boundaries between triangles.
    assert (~same).float().mean() <= {"drtk": 1e-3, "nvdiffrast": 2e-2}[name]
    assert (mine.image - true.image).abs().amax(1)[same].max() <= 1e-3
