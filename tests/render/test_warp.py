"""What renderer `warp` has beyond the contract: its CUDA path as far as a CPU can tell, and what needs a GPU."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from lipflow_optimizers.adam import RowAdam
from render_scenes import make
from test_contract import DEEP, gradients, scene
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

import lipflow_core
from lipflow_core.avatar import frozen
from lipflow_core.fitting.fit import build_objectives
from lipflow_core.fitting.problem import Problem
from lipflow_core.planning import plan
from lipflow_core.plans import CaptureInputs
from lipflow_core.records import Rendering
from lipflow_core.splits import load_frames

needs_warp = pytest.mark.skipif(
    importlib.util.find_spec("warp") is None, reason="renderer 'warp' needs warp-lang: pip install 'warp-lang>=1.19'"
)


@pytest.fixture
def warp():
    return make("warp")


def all_of(rendering: Rendering) -> list[torch.Tensor]:
    return [rendering.image, rendering.coverage, rendering.depth, rendering.triangle, rendering.barycentric]


@needs_warp
def test_compiles_for_gpus_ahead_of_time_without_one(tmp_path):
    from lipflow_render.warp.build import compile_ahead

    files = compile_ahead(torch.float32, [80, 90], tmp_path)
    assert sorted(file.suffixes[-2] for file in files) == [".sm80", ".sm80", ".sm90", ".sm90"]
    assert all(file.suffix == ".cubin" and file.read_bytes()[:4] == b"\x7fELF" for file in files)


@needs_warp
def test_blocks_of_many_threads_compute_what_one_thread_does(monkeypatch, warp, turn):
    """On the CPU threads of a block take turns, as many as on CUDA: the same sharing of pixels and the same sums."""
    import warp as wp
    from lipflow_render.warp import warp_operators

    given = scene(turn, DEEP)
    drawn, alone = gradients(warp, *given)
    monkeypatch.setattr(wp.config, "enable_cpu_blocks", True)
    monkeypatch.setattr(warp_operators, "lanes", lambda device: (8, 4))
    monkeypatch.setattr(warp_operators, "_rows", lambda found: tuple(found.shape))
    shared, together = gradients(warp, *given)
    for one, other in zip(all_of(drawn), all_of(shared), strict=True):
        assert torch.equal(one, other)
    assert_close(together, alone, rtol=1e-9, atol=1e-9)
    assert any(not torch.equal(one, other) for one, other in zip(alone, together, strict=True))


@needs_warp
@pytest.mark.parametrize("dtype", [torch.float32, DEEP])
def test_fixed_point_sums_are_the_sums(monkeypatch, warp, turn, dtype):
    from lipflow_render.warp.fixed_point import FixedPointSum

    given = scene(turn, dtype)
    _, plain = gradients(warp, *given)
    monkeypatch.setattr(FixedPointSum, "wanted", lambda device: True)
    _, whole = gradients(warp, *given)
    for one, other in zip(plain, whole, strict=True):
        assert (one - other).norm() <= (1e-6 if dtype == torch.float32 else 1e-9) * one.norm()
    assert not torch.equal(plain[1], whole[1])


@needs_warp
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_fixed_point_sums_do_not_hide_a_damaged_gradient(monkeypatch, warp, turn, value):
    from lipflow_render.warp.fixed_point import FixedPointSum

    monkeypatch.setattr(FixedPointSum, "wanted", lambda device: True)
    vertices, texture, topology, camera, background = scene(turn, batch=1)
    vertices, texture = vertices.clone().requires_grad_(), texture.clone().requires_grad_()
    image = warp(vertices, texture, topology, camera, background).image
    gradient = torch.zeros_like(image)
    gradient[0, 0, 35, 30] = value
    image.backward(gradient)
    assert texture.grad.isnan().any()
    assert vertices.grad.isfinite().all()


@needs_warp
def test_fixed_point_sums_of_zeros_are_zero(monkeypatch, warp, turn):
    from lipflow_render.warp.fixed_point import FixedPointSum

    monkeypatch.setattr(FixedPointSum, "wanted", lambda device: True)
    vertices, texture, topology, camera, background = scene(turn, batch=1)
    vertices, texture = vertices.clone().requires_grad_(), texture.clone().requires_grad_()
    (warp(vertices, texture, topology, camera, background).image * 0).sum().backward()
    assert not vertices.grad.any() and not texture.grad.any()


@needs_warp
def test_operators_are_registered_as_they_behave(turn):
    from lipflow_render.warp import warp_operators

    vertices, texture, topology, camera, background = scene(turn, DEEP, batch=1, height=12, width=10)
    projection = (camera.intrinsics @ camera.extrinsics).requires_grad_()
    parts = (topology.triangles, topology.uv, topology.uv_triangles)
    given = (vertices.requires_grad_(), projection, texture.requires_grad_(), background.requires_grad_(), *parts)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(warp_operators.draw, (*given, 12, 10, 1.0, True), test_utils=checks)
    _, _, found, screen, _, bounds, visible = warp_operators.draw(*given, 12, 10, 1.0, True)
    torch.library.opcheck(
        warp_operators.attributes,
        (vertices, projection, *parts, found, screen, bounds, visible, 1.0),
        test_utils=checks,
    )


@needs_warp
def test_compiles_into_one_graph(warp, turn):
    vertices, texture, topology, camera, background = scene(turn, batch=1, height=24, width=20)

    def loss(vertices, texture):
        rendering = warp(vertices, texture, topology, camera, background)
        return (rendering.image.square().sum() + rendering.coverage.sum()) * 2

    leaves = [vertices.clone().requires_grad_(), texture.clone().requires_grad_()]
    plain = torch.autograd.grad(loss(*leaves), leaves)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert_close(torch.autograd.grad(compiled(*leaves), leaves), plain)


@needs_warp
def test_a_part_that_is_read_after_the_topology_changed_is_refused(warp, turn):
    vertices, texture, topology, camera, background = scene(turn, batch=1, height=24, width=20)
    own = topology.apply(torch.clone)
    made = warp(vertices, texture, own, camera, background)
    own.triangles.copy_(own.triangles.flip(0))
    with pytest.raises(RuntimeError, match=r"'depth' of a rendering .* changed in place after drawing"):
        _ = made.depth


class NothingWaits(TorchDispatchMode):
    """Refuses what makes the processor wait for a device, and so can't be captured in a CUDA graph."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "repeat_interleave")

    def __torch_dispatch__(self, operator, types, given=(), options=None):
        name = operator.overloadpacket.__name__.lstrip("_")
        assert name not in [waiting.lstrip("_") for waiting in self.WAITING], f"{operator} waits for the device"
        masks = [mask for mask in given[1] if mask is not None] if name in ("index", "index_put") else []
        assert all(mask.dtype != torch.bool for mask in masks), f"{operator} by a mask waits for the device"
        return operator(*given, **(options or {}))


@contextmanager
def fitting_step(device: str):
    """A function that takes one step of fitting two frames' codes, and the codes."""
    spec = lipflow_core.load_spec("dam", ["preset=tiny", "renderer=warp", f"device={device}"])
    avatar = lipflow_core.assemble(spec).eval()
    source = spec.capture.build(CaptureInputs()).split("held-out")
    frame = load_frames(source, [0, 1], plan(spec).fitted_observations)
    objectives = build_objectives(avatar, frame, spec.fitting.objectives)
    with frozen(avatar):
        problem = Problem.of(avatar, frame, objectives)
        codes = problem.start("zero").clone().requires_grad_()
        adam = RowAdam.start(torch.full_like(codes, 0.05))

        def step() -> torch.Tensor:
            loss = problem.losses(codes).sum()
            (gradient,) = torch.autograd.grad(loss, codes)
            with torch.no_grad():
                moved, updated = adam.update(codes, gradient)
                # In place: a graph reads and writes the same memory every time.
                codes.copy_(moved)
                for name in ("first", "second", "steps"):
                    getattr(adam, name).copy_(getattr(updated, name))
            return loss.detach()

        yield step, codes


@needs_warp
def test_a_fitting_step_waits_for_nothing():
    with fitting_step("cpu") as (step, codes):
        step()
        before = codes.detach().clone()
        with NothingWaits():
            loss = step()
        assert loss.isfinite() and not torch.equal(codes, before)


@needs_warp
@pytest.mark.cuda
def test_a_whole_fitting_step_is_captured_in_a_cuda_graph():
    with fitting_step("cuda") as (step, codes):
        start = codes.detach().clone()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            eager = [step() for _ in range(8)]
        torch.cuda.current_stream().wait_stream(aside)
    with fitting_step("cuda") as (step, codes):
        assert torch.equal(codes, start)
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            replayed = [step() for _ in range(3)]
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = step()
        for _ in range(5):
            graph.replay()
            replayed.append(loss.clone())
    assert_close(torch.stack(replayed), torch.stack(eager), rtol=1e-3, atol=0)


@needs_warp
@pytest.mark.cuda
def test_draws_on_cuda_what_it_draws_on_the_cpu(warp, turn):
    given = scene(turn)
    here, here_gradients = gradients(warp, *given)
    there, there_gradients = gradients(make("warp-cuda"), *given)
    same = here.triangle == there.triangle
    assert (~same).float().mean() <= 1e-4
    assert (here.image - there.image).abs().amax(1)[same].max() <= 1e-5
    for one, other in zip(here_gradients, there_gradients, strict=True):
        assert (one - other).norm() <= 1e-3 * one.norm()


HIDDEN = """
import sys
class Hide:
    def find_spec(name, *_):
        if name == "warp":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide)
from lipflow_core.cli import main
sys.argv = ["lipflow-core", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plugins", "list"], "pip install 'warp-lang>=1.19'"),
        (
            ["assemble", "dam", "preset=tiny", "renderer=warp", "--out", "model"],
            "renderer 'warp' needs warp, which is not",
        ),
    ],
)
def test_without_warp_the_user_is_told_how_to_install_it(tmp_path, arguments, said):
    run = subprocess.run([sys.executable, "-c", HIDDEN, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert said in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
