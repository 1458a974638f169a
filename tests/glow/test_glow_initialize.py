"""Initialisation from accumulated codes, and that nothing else initialises."""

from __future__ import annotations

import pytest
import torch
from glow_flows import make_batch, make_flow


@pytest.fixture
def fresh(coupling, context_width):
    flow = make_flow(coupling, context=context_width)
    for norm in flow._transforms[0::3]:
        torch.nn.init.zeros_(norm.log_scale)
        torch.nn.init.zeros_(norm.shift)
    return flow


def test_each_actnorm_whitens_the_codes_that_reach_it(fresh):
    code, context = make_batch(fresh, 300)
    fresh.initialize(3 * code + 7, context)
    assert fresh.initialized
    reached, fed = 3 * code + 7, context
    for layer in fresh._transforms:
        reached, _ = layer(reached, fed)
        if hasattr(layer, "log_scale") and hasattr(layer, "shift"):
            # In training mode batch norm divides by the biased variance, 1/300 off from what is seen here.
            torch.testing.assert_close(reached.mean(0), torch.zeros(6).double(), rtol=0, atol=1e-2)
            torch.testing.assert_close(reached.std(0), torch.ones(6).double(), rtol=0, atol=1e-2)


def test_batch_norm_takes_its_statistics_from_the_same_codes():
    flow = make_flow()
    code, context = make_batch(flow, 300)
    flow.initialize(code, context)
    norm = flow._transforms[2].transform_net.blocks[0].batch_norm_layers[0]
    seen = {}
    norm.register_forward_hook(lambda module, inputs, output: seen.update(x=inputs[0]))
    flow(code, context)
    torch.testing.assert_close(norm.running_mean, seen["x"].mean(0), rtol=0, atol=1e-10)
    torch.testing.assert_close(norm.running_var, seen["x"].var(0), rtol=0, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
def test_modes_are_as_they_were(training):
    flow = make_flow(dropout=0.1).train(training)
    flow.initialize(*make_batch(flow, 32))
    assert all(module.training == training for module in flow.modules())
    assert {m.momentum for m in flow.modules() if isinstance(m, torch.nn.BatchNorm1d)} == {0.1}


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_using_a_flow_does_not_initialise_it(fresh, direction):
    fresh.train()
    code, context = make_batch(fresh, 3)
    getattr(fresh, direction)(code, context)
    assert not fresh.initialized
    assert all(not norm.log_scale.any() and not norm.shift.any() for norm in fresh._transforms[0::3])


def test_a_constant_feature_stays_bounded():
    flow = make_flow()
    code, context = make_batch(flow, 300)
    code[:, 2] = 4.0
    flow.initialize(code, context)
    scale = flow._transforms[0].scale
    assert scale[2] < 200 * scale.median()
    assert flow(code, context)[0].isfinite().all()


def test_one_code_is_refused():
    flow = make_flow()
    with pytest.raises(ValueError, match="got 1 codes, but needs at least 2"):
        flow.initialize(*make_batch(flow, 1))


def test_codes_that_are_not_finite_are_refused():
    flow = make_flow()
    code, context = make_batch(flow, 20)
    code[3, 1] = torch.nan
    with pytest.raises(ValueError, match=r"1 of 20 codes that are NaN or infinite"):
        flow.initialize(code, context)
    context[:2] = torch.inf
    with pytest.raises(ValueError, match=r"2 of 20 contexts that are NaN or infinite"):
        flow.initialize(make_batch(flow, 20)[0], context)
