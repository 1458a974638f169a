"""What holds for the flow `glow` with every coupling."""

from __future__ import annotations

import copy

import pytest
import torch
from glow_flows import make_batch, make_flow
from lipflow_glow.config import GlowConfig
from lipflow_glow.flow import GlowFlow
from safetensors.torch import load, save
from torch.autograd.functional import jacobian

from lipflow_core.plans import FlowInputs, Mismatch


@pytest.mark.parametrize("features", [2, 5])
def test_inverse_undoes_forward(coupling, context_width, features):
    flow = make_flow(coupling, features, context_width)
    code, context = make_batch(flow)
    mapped, log_det = flow(code, context)
    back, log_det_back = flow.inverse(mapped, context)
    torch.testing.assert_close(back, code, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_det_back, -log_det, rtol=0, atol=1e-9)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_log_det_is_that_of_the_jacobian(coupling, context_width, direction):
    flow = make_flow(coupling, context=context_width)
    codes, contexts = make_batch(flow, 3)
    function = flow if direction == "forward" else flow.inverse
    _, log_det = function(codes, contexts)
    for index in range(3):
        context = None if contexts is None else contexts[index : index + 1]
        matrix = jacobian(lambda code, h=context: function(code[None], h)[0][0], codes[index])
        torch.testing.assert_close(log_det[index], torch.linalg.slogdet(matrix).logabsdet, rtol=0, atol=1e-9)


def test_gradients_reach_every_parameter(coupling, context_width):
    flow = make_flow(coupling, context=context_width).train()
    code, context = make_batch(flow, 16)
    mapped, log_det = flow(code, context)
    (mapped.square().sum() - log_det.sum()).backward()
    idle = [name for name, p in flow.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("training", [True, False])
def test_batches_of_none_and_one_pass_in_training_and_evaluation(coupling, context_width, size, training):
    flow = make_flow(coupling, context=context_width).train(training)
    code, context = make_batch(flow, size)
    mapped, log_det = flow(code, context)
    assert mapped.shape == code.shape and log_det.shape == (size,)
    back, _ = flow.inverse(mapped, context)
    torch.testing.assert_close(back, code, rtol=0, atol=1e-9)


def test_additive_flow_has_one_log_det_for_all(context_width):
    flow = make_flow("additive", context=context_width)
    _, log_det = flow(*make_batch(flow, 8))
    assert flow.planned.volume_preserving
    torch.testing.assert_close(log_det, log_det[:1].expand(8), rtol=0, atol=0)


@pytest.mark.parametrize("coupling", ["affine-clamped", "spline"])
def test_these_couplings_start_as_the_identity(coupling):
    layer = GlowFlow(GlowConfig(coupling=coupling, hidden=16), FlowInputs(features=6, context=5))._transforms[2].eval()
    code = 3 * torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    mapped, log_det = layer(code, torch.randn(7, 5, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(mapped, code, rtol=0, atol=2e-6)
    torch.testing.assert_close(log_det, torch.zeros(7), rtol=0, atol=1e-5)


def test_clamped_scales_stay_within_their_bounds():
    flow = make_flow("affine-clamped")
    log_scale = flow._transforms[2].log_scale(torch.tensor([-1e6, 0.0, 1e6], dtype=torch.float64))
    torch.testing.assert_close(log_scale, torch.tensor([-2.0, 0.0, 0.1], dtype=torch.float64), rtol=0, atol=1e-5)


def test_spline_is_the_identity_outside_its_bound():
    layer = make_flow("spline")._transforms[2]
    far = torch.tensor([[-9.0, 5.5, 1e4]], dtype=torch.float64)
    parameters = torch.randn(1, 3 * layer.parameters_per_feature, generator=torch.Generator().manual_seed(0)).double()
    bent, log_det = layer.bend(far, parameters)
    assert torch.equal(bent, far) and log_det.item() == 0


def test_state_survives_saving(coupling):
    flow, other = make_flow(coupling), GlowFlow(make_flow(coupling).config, FlowInputs(features=6, context=5))
    other.double().eval().load_state_dict(load(save(flow.state_dict())))
    batch = make_batch(flow)
    torch.testing.assert_close(other(*batch), flow(*batch), rtol=0, atol=0)


def test_deep_copies_carry_no_folded_weights():
    flow = make_flow()
    code, context = make_batch(flow)
    bound = flow.condition(context)
    twin = copy.deepcopy(flow)
    assert twin._folded is None
    torch.testing.assert_close(twin(code, context)[0], bound.forward(code)[0], rtol=0, atol=1e-12)


def test_a_code_of_one_dimension_is_refused():
    with pytest.raises(Mismatch, match=r"flow 'glow'.*size is 1"):
        GlowConfig().plan(FlowInputs(features=1, context=4))


def test_defaults_are_those_of_the_paper():
    flow = GlowFlow(GlowConfig(), FlowInputs(features=256, context=1024))
    assert sum(p.numel() for p in flow.parameters()) == pytest.approx(30.7e6, rel=5e-3)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_mixed_precision_leaves_the_flow_in_its_own(coupling, direction):
    flow = make_flow(coupling).float()
    code, context = (tensor.float() for tensor in make_batch(flow, 8))
    plain = getattr(flow, direction)(code, context)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = getattr(flow, direction)(code, context)
    torch.testing.assert_close(mixed, plain, rtol=0, atol=0)
