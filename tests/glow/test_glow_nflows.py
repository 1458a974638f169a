"""Weights and results interchange with nflows."""

from __future__ import annotations

import pytest
import torch
from glow_flows import make_batch, make_flow, perturb
from nflows.nn.nets import ResidualNet
from nflows.transforms import ActNorm, AdditiveCouplingTransform, AffineCouplingTransform, CompositeTransform, LULinear
from torch.distributions import Independent, Normal

REFERENCES = {"additive": AdditiveCouplingTransform, "affine": AffineCouplingTransform}


def nflows_flow(coupling: str, features: int, context: int, batch_norm: bool) -> CompositeTransform:
    def net(inputs: int, outputs: int) -> ResidualNet:
        return ResidualNet(inputs, outputs, 16, context or None, num_blocks=2, use_batch_norm=batch_norm)

    layers = []
    for step in range(3):
        mask = [(index + step) % 2 for index in range(features)]
        layers += [ActNorm(features), LULinear(features), REFERENCES[coupling](mask, net)]
    return CompositeTransform(layers).double().eval()


@pytest.fixture(params=[True, False], ids=["batch-norm", "plain"])
def batch_norm(request):
    return request.param


@pytest.fixture(params=REFERENCES)
def pair(request, context_width, batch_norm):
    ours = make_flow(request.param, 7, context_width, batch_norm=batch_norm)
    theirs = nflows_flow(request.param, 7, context_width, batch_norm)
    perturb(theirs, seed=5)
    return ours, theirs


def log_prob(transform, code, context):
    mapped, log_det = transform(code, context)
    return Independent(Normal(torch.zeros(7).double(), torch.ones(7).double()), 1).log_prob(mapped) + log_det


@pytest.mark.parametrize("direction", ["from nflows", "to nflows"])
def test_state_dicts_interchange(pair, direction):
    ours, theirs = pair
    source, target = (theirs, ours) if direction == "from nflows" else (ours, theirs)
    target.load_state_dict(source.state_dict())
    batch = make_batch(ours, 6)
    torch.testing.assert_close(log_prob(ours, *batch), log_prob(theirs, *batch), rtol=0, atol=1e-12)


def test_training_mode_agrees_in_values_gradients_and_statistics(pair):
    ours, theirs = pair
    for norm in ours._transforms[0::3]:
        norm.initialized.fill_(True)
    theirs.load_state_dict(ours.state_dict())
    batch = make_batch(ours, 6)
    for flow in (ours, theirs):
        flow.train()
        log_prob(flow, *batch).sum().backward()
    for (name, mine), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
    theirs_now = theirs.state_dict()
    for name, mine in ours.state_dict().items():
        torch.testing.assert_close(mine, theirs_now[name], rtol=0, atol=1e-12)
