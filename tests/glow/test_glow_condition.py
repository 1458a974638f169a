"""The folded form against the flow itself."""

from __future__ import annotations

import pytest
import torch
from glow_flows import make_batch, make_flow
from lipflow_glow.conditioned import FoldedConditionedFlow
from lipflow_glow.config import GlowConfig
from lipflow_glow.flow import GlowFlow

from lipflow_core.interfaces import ConditionedFlow


def with_gradient(forward, code, weights=(1.3, -0.7)):
    """z, log|det| and the gradient of a scalar of both with respect to the code."""
    leaf = code.detach().requires_grad_()
    mapped, log_det = forward(leaf)
    loss = weights[0] * mapped.square().sum() + weights[1] * (log_det * mapped[:, 0].detach()).sum()
    (gradient,) = torch.autograd.grad(loss, leaf)
    return mapped.detach(), log_det.detach(), gradient


def assert_same(flow, bound, code, context, tolerance=1e-12):
    wanted = with_gradient(lambda z: flow(z, context), code)
    made = with_gradient(bound.forward, code)
    for expected, actual in zip(wanted, made, strict=True):
        scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
        torch.testing.assert_close(actual / scale, expected / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("features", [2, 5])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_values_and_gradients_are_the_flows(coupling, context_width, features, batch_norm):
    flow = make_flow(coupling, features, context_width, batch_norm=batch_norm)
    code, context = make_batch(flow)
    bound = flow.condition(context)
    assert isinstance(bound, FoldedConditionedFlow)
    assert_same(flow, bound, code, context)


def test_batch_norm_slopes_of_any_sign_and_zero(coupling):
    flow = make_flow(coupling)
    generator = torch.Generator().manual_seed(3)
    for module in flow.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            with torch.no_grad():
                module.weight.copy_(torch.randint(-1, 2, module.weight.shape, generator=generator))
    code, context = make_batch(flow, 16)
    assert_same(flow, flow.condition(context), code, context)


def test_inverse_is_the_flows(coupling, context_width):
    flow = make_flow(coupling, context=context_width)
    code, context = make_batch(flow)
    torch.testing.assert_close(flow.condition(context).inverse(code), flow.inverse(code, context), rtol=0, atol=1e-12)


@pytest.mark.parametrize("index", [torch.tensor([2, 0, 2, 2, 1]), torch.tensor([True, False, True, True])])
def test_rows_may_repeat_or_mask(coupling, context_width, index):
    flow = make_flow(coupling, context=context_width)
    code, context = make_batch(flow)
    rows = flow.condition(context).rows(index)
    assert_same(flow, rows, code[index], None if context is None else context[index])


def test_one_context_may_serve_many_codes(coupling):
    flow = make_flow(coupling)
    code, context = make_batch(flow)
    bound = flow.condition(context[:1])
    assert_same(flow, bound, code, context[:1].expand(4, -1))
    torch.testing.assert_close(bound.inverse(bound.forward(code)[0])[0], code, rtol=0, atol=1e-9)
    for shared in (bound, ConditionedFlow(flow, context[:1])):
        assert_same(flow, shared.rows(torch.tensor([3, 1])), code[[3, 1]], context[:1].expand(2, -1))


@pytest.mark.parametrize("size", [0, 1])
def test_empty_and_single_batches(coupling, context_width, size):
    flow = make_flow(coupling, context=context_width)
    code, context = make_batch(flow, size)
    assert_same(flow, flow.condition(context), code, context)


@pytest.mark.parametrize("change", ["in place", "optimizer", "load_state_dict", "dtype"])
def test_a_changed_parameter_is_seen(change):
    flow = make_flow()
    code, context = make_batch(flow)
    flow.condition(context)
    if change == "in place":
        with torch.no_grad():
            flow._transforms[1].bias.add_(1)
    elif change == "optimizer":
        optimizer = torch.optim.Adam(flow.parameters(), lr=0.1)
        flow(code, context)[0].sum().backward()
        optimizer.step()
    elif change == "load_state_dict":
        state = flow.state_dict()
        flow.load_state_dict(
            {name: value + 0.1 if value.is_floating_point() else value for name, value in state.items()}
        )
    else:
        flow.float()
        code, context = code.float(), context.float()
    assert_same(flow, flow.condition(context), code, context, 1e-5 if change == "dtype" else 1e-12)


def test_folded_weights_are_made_once():
    flow = make_flow()
    _, context = make_batch(flow)
    passes = flow.condition(context).passes
    assert flow.condition(context).passes is passes
    assert flow.eval().condition(context).passes is passes


def test_weights_changed_in_training_are_folded_anew():
    flow = make_flow()
    code, context = make_batch(flow)
    flow.condition(context)
    flow.train()
    flow._transforms[1].bias.data += 1
    flow.eval()
    assert_same(flow, flow.condition(context), code, context)


def test_a_context_that_needs_gradients_gets_them(coupling):
    flow = make_flow(coupling)
    code, context = make_batch(flow)
    context.requires_grad_()
    flow.condition(context).forward(code)[0].square().sum().backward()
    assert context.grad.abs().max() > 0


def test_training_mode_is_not_folded():
    flow = make_flow().train()
    code, context = make_batch(flow)
    assert not isinstance(flow.condition(context), FoldedConditionedFlow)
    torch.testing.assert_close(flow.condition(context).forward(code), flow(code, context))


def test_a_graph_can_be_walked_twice(coupling):
    flow = make_flow(coupling)
    code, context = make_batch(flow)
    leaf = code.requires_grad_()
    loss = flow.condition(context).forward(leaf)[0].square().sum()
    first = torch.autograd.grad(loss, leaf, retain_graph=True)
    assert torch.equal(first[0], torch.autograd.grad(loss, leaf)[0])


def test_inference_mode(coupling):
    flow = make_flow(coupling)
    code, context = make_batch(flow)
    with torch.inference_mode():
        made = flow.condition(context).forward(code)
    torch.testing.assert_close(made, flow(code, context), rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [1, 2, 5, 16])
@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), ("bfloat16", 3e-2)])
def test_single_precision(coupling, size, precision, tolerance):
    double = make_flow(coupling, 32, 24, hidden=64, fitting_precision=precision)
    with torch.no_grad():
        for parameter in double.parameters():
            parameter.mul_(0.5)
    single = GlowFlow(GlowConfig(**double.config.model_dump()), double.given).eval()
    single.load_state_dict(double.state_dict())
    code, context = make_batch(double, size)
    wanted = with_gradient(lambda z: double(z, context), code)
    made = with_gradient(single.condition(context.float()).forward, code.float())
    for expected, actual in zip(wanted[::2], made[::2], strict=True):
        assert ((actual - expected).norm() / expected.norm()).item() < tolerance
