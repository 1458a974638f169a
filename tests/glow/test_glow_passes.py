"""Every way through a folded flow gives what the flow gives, and each way runs only where it can."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from glow_flows import make_batch, make_flow
from lipflow_glow.config import GlowConfig
from lipflow_glow.flow import GlowFlow
from lipflow_glow.passes.products import has_matrix_unit
from test_glow_condition import assert_same, with_gradient

from lipflow_core.plans import FlowInputs

SIZES = [0, 1, 2, 3, 5, 16, 17, 130]


@pytest.fixture(params=["auto", "plain", "compiled"])
def passes(request) -> str:
    return request.param


def odd(coupling: str = "additive", **options) -> GlowFlow:
    """A float64 flow whose sizes are multiples of no vector's."""
    return make_flow(coupling, features=11, context=7, hidden=37, **options)


def in_single(double: GlowFlow, **options) -> GlowFlow:
    """The same flow in float32, with some options changed."""
    single = GlowFlow(double.config.model_copy(update=options), double.given).eval()
    single.load_state_dict(double.state_dict())
    return single


def calm(flow: GlowFlow) -> GlowFlow:
    """Smaller weights, so that rounding errors stay small."""
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(0.5)
    return flow


@pytest.mark.parametrize("size", SIZES)
def test_passes_in_double_are_the_flow(coupling, size, passes):
    flow = odd(coupling, passes=passes)
    code, context = make_batch(flow, size)
    assert_same(flow, flow.condition(context), code, context)
    assert_same(flow, flow.condition(context[:1] if size else context), code, context[:1].expand(size, -1))


@pytest.mark.parametrize("size", SIZES)
def test_passes_in_single_are_the_flow_up_to_rounding(coupling, size, passes):
    double = calm(odd(coupling, passes=passes))
    code, context = make_batch(double, size)
    wanted = with_gradient(lambda z: double(z, context), code)
    made = with_gradient(in_single(double).condition(context.float()).forward, code.float())
    for expected, actual in zip(wanted, made, strict=True):
        assert (actual - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("size", [1, 3])
def test_a_wide_flow_takes_the_kernels_and_is_the_flow(size):
    double = calm(make_flow(features=8, context=4, hidden=1024, steps=1))
    flow = in_single(double)
    code, context = make_batch(double, size)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        bound = flow.condition(context.float())
        made = with_gradient(bound.forward, code.float())
    finally:
        torch.set_num_threads(before)
    assert "_sparse" in vars(bound.passes.products[0].blocks[0][0])
    for expected, actual in zip(with_gradient(lambda z: double(z, context), code), made, strict=True):
        assert (actual - expected).norm() <= 1e-5 * expected.norm()


def test_units_that_are_all_inactive_give_zeros(passes):
    flow = odd(passes=passes)
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "linear_layers.0.bias" in name:
                parameter.sub_(1e3)
    code, context = make_batch(flow, 3)
    assert_same(flow, flow.condition(context), code, context)


def test_compiled_passes_are_planned_for_the_cpu_alone():
    given = FlowInputs(features=8, context=4)
    assert GlowConfig(passes="compiled").plan(given).devices == ("cpu",)
    assert "cuda" in GlowConfig(passes="plain").plan(given).devices


def test_compiled_passes_refuse_a_type_that_has_no_kernels():
    flow = odd(passes="compiled").bfloat16()
    with pytest.raises(ValueError, match=r"float32 and float64 flows on the CPU.*bfloat16 on cpu.*flow\.passes=auto"):
        flow.condition(torch.zeros(1, 7, dtype=torch.bfloat16))


@pytest.mark.skipif(not has_matrix_unit(), reason="this CPU multiplies bfloat16 no faster than float32")
def test_narrow_weights_are_for_fitting_alone():
    wide = in_single(calm(make_flow(features=8, context=4, hidden=256, steps=2)))
    narrow = in_single(wide, fitting_precision="bfloat16")
    code, context = (part.float() for part in make_batch(wide, 64))
    bound, exact = narrow.condition(context), wide.condition(context)
    assert torch.equal(bound.inverse(code)[0], exact.inverse(code)[0])
    difference = (bound.forward(code)[0] - exact.forward(code)[0]).norm() / exact.forward(code)[0].norm()
    assert 1e-6 < difference < 0.1


WIDENED = """
import torch
from lipflow_glow.config import GlowConfig
from lipflow_glow.flow import GlowFlow
from lipflow_core.plans import FlowInputs

torch.manual_seed(0)
flow = GlowFlow(GlowConfig(hidden=256, steps=1, fitting_precision="bfloat16"), FlowInputs(features=8)).eval()
wide = GlowFlow(GlowConfig(hidden=256, steps=1), FlowInputs(features=8)).eval()
wide.load_state_dict(flow.state_dict())
code = torch.randn(64, 8)
print(torch.equal(flow.condition(None).forward(code)[0], wide.condition(None).forward(code)[0]))
"""


def test_narrow_weights_are_widened_on_a_cpu_without_a_matrix_unit():
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", WIDENED], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_small_flows_load_no_numba():
    program = WIDENED + "\nimport sys; flow.condition(None).forward(code[:1]); print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


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


def test_what_was_bound_before_a_change_stays_as_it_was(passes):
    flow = in_single(odd(passes=passes))
    code, context = (part.float() for part in make_batch(flow, 30))
    used, unused = flow.condition(context), in_single(odd(passes=passes)).condition(context)
    wanted = used.forward(code)[0]
    with torch.no_grad():
        for parameter in [*flow.parameters(), *unused.flow.parameters()]:
            parameter.add_(1)
    assert torch.equal(used.forward(code)[0], wanted)
    assert torch.equal(unused.forward(code)[0], wanted)


def test_codes_may_lie_anyhow_in_memory(passes):
    flow = in_single(odd(passes=passes))
    code, context = (part.float() for part in make_batch(flow, 30))
    spread = torch.zeros(30, 22)[:, ::2].copy_(code)
    torch.testing.assert_close(flow.condition(context).forward(spread)[0], flow.condition(context).forward(code)[0])
