"""Every way through a folded flow gives what the flow gives: few rows, some, many, with and without a matrix unit."""

from __future__ import annotations

import multiprocessing

import pytest
import torch
from glow_flows import make_batch, make_flow
from lipflow_glow.config import GlowConfig
from lipflow_glow.flow import GlowFlow
from lipflow_glow.passes import compiled
from lipflow_glow.passes.plain import PlainPasses
from test_glow_condition import assert_same, with_gradient

SIZES = [0, 1, 2, 3, 5, 16, 17, 24, 47, 48, 130]


@pytest.fixture(params=["matrix unit", "none"])
def unit(request, monkeypatch):
    """With the CPU's matrix unit where there is one, and as if there were none."""
    if request.param == "none":
        monkeypatch.setattr(compiled, "usable", lambda: False)
    elif not compiled.usable():
        pytest.skip("this CPU has no matrix unit, or the system does not lend it")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def odd(coupling="additive", **options):
    """A flow of sizes that no vector's is a divisor of."""
    return make_flow(coupling, features=11, context=7, hidden=37, **options)


def in_single(double: GlowFlow) -> GlowFlow:
    """The same flow in float32."""
    single = GlowFlow(double.config, double.given).eval()
    single.load_state_dict(double.state_dict())
    return single


@pytest.mark.parametrize("size", SIZES)
def test_in_double(coupling, size):
    flow = odd(coupling)
    code, context = make_batch(flow, size)
    assert_same(flow, flow.condition(context), code, context)
    assert_same(flow, flow.condition(context[:1] if size else context), code, context[:1].expand(size, -1))


@pytest.mark.parametrize("size", SIZES)
def test_in_single(coupling, size, unit):
    double = odd(coupling)
    with torch.no_grad():
        for parameter in double.parameters():
            parameter.mul_(0.5)
    code, context = make_batch(double, size)
    wanted = with_gradient(lambda z: double(z, context), code)
    made = with_gradient(in_single(double).condition(context.float()).forward, code.float())
    for expected, actual in zip(wanted, made, strict=True):
        assert (actual - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("size", [1, 16, 130])
def test_narrow_weights_are_for_fitting_alone(size, unit):
    wide = in_single(odd())
    narrow = GlowFlow(GlowConfig(**{**wide.config.model_dump(), "fitting_precision": "bfloat16"}), wide.given).eval()
    narrow.load_state_dict(wide.state_dict())
    code, context = (part.float() for part in make_batch(wide, size))
    bound, exact = narrow.condition(context), wide.condition(context)
    assert torch.equal(bound.inverse(code)[0], exact.inverse(code)[0])
    difference = (bound.forward(code)[0] - exact.forward(code)[0]).norm() / exact.forward(code)[0].norm()
    assert 1e-5 < difference < 0.1


@pytest.mark.parametrize("size", [1, 5, 47, 130])
def test_any_number_of_threads_gives_the_same_bits(size, unit, threads):
    flow = in_single(make_flow(features=128, context=64, hidden=512, steps=2))
    code, context = (part.float() for part in make_batch(flow, size))
    if size >= compiled.PLAIN_ROWS and not compiled.usable():
        pytest.skip("torch's own kernels, which many rows go through here, promise no order of summation")
    threads(1)
    bound = flow.condition(context)
    alone = with_gradient(bound.forward, code)
    for count in (2, 3):
        threads(count)
        for one, other in zip(alone, with_gradient(bound.forward, code), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("size", [1, 5, 130])
def test_low_precision_and_autocast_are_taken_as_by_the_flow(size):
    flow = in_single(odd())
    code, context = (part.float() for part in make_batch(flow, size))
    exact = flow.condition(context).forward(code)[0]
    for kind in (torch.float64, torch.bfloat16, torch.float16):
        close = flow.condition(context.to(kind)).forward(code.to(kind))[0]
        assert close.dtype == torch.float32
        assert (close - exact).norm() < 0.2 * exact.norm()
    flow.train().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = flow.condition(context).forward(code)[0]
    assert torch.equal(made, flow.condition(context).forward(code)[0])


def test_what_was_bound_before_a_change_stays_as_it_was(unit):
    flow = in_single(odd())
    code, context = (part.float() for part in make_batch(flow, 130))
    few = flow.condition(context[:1])
    before = few.forward(code[:1])[0]
    many = flow.condition(context)
    wanted = many.forward(code)[0].clone()
    other = in_single(odd())
    bound = other.condition(context)
    with torch.no_grad():
        for parameter in [*flow.parameters(), *other.parameters()]:
            parameter.add_(1)
    assert torch.equal(few.forward(code[:1])[0], before)
    assert torch.equal(many.forward(code)[0], wanted)
    torch.testing.assert_close(bound.forward(code)[0], wanted)


def test_codes_may_lie_anyhow_in_memory(unit):
    flow = in_single(odd())
    code, context = (part.float() for part in make_batch(flow, 30))
    spread = torch.zeros(30, 22)[:, ::2].copy_(code)
    assert torch.equal(flow.condition(context).forward(spread)[0], flow.condition(context).forward(code)[0])


def test_passes_by_torch_alone_are_the_same(coupling):
    flow = odd(coupling)
    code, context = make_batch(flow, 6)
    bound = flow.condition(context)
    plain = PlainPasses(bound.passes.weights)
    made = plain.forward(code, plain.bind(context), keep=False)[:2]
    torch.testing.assert_close(made, bound.forward(code), rtol=0, atol=1e-12)


def _in_child(flow, code, context, queue):
    queue.put(flow.condition(context).forward(code)[0].numpy())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system can't fork")
def test_works_in_a_forked_process(threads):
    threads(2)
    flow = in_single(make_flow(features=128, context=64, hidden=512, steps=2))
    code, context = (part.float() for part in make_batch(flow, 5))
    wanted = flow.condition(context).forward(code)[0]
    forks = multiprocessing.get_context("fork")
    queue = forks.SimpleQueue()
    child = forks.Process(target=_in_child, args=(flow, code, context, queue))
    child.start()
    made = torch.from_numpy(queue.get())
    child.join()
    assert torch.equal(made, wanted)
