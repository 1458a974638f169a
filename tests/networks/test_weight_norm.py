"""The weight-normed layers equal torch's parametrisation with one norm per tensor."""

from __future__ import annotations

import pytest
import torch
from lipflow_dam.weight_norm import NormedConv, NormedLinear, NormedUpConv
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lipflow_core.avatar import frozen

CASES = {
    "narrow to wide": (NormedLinear(3, 40), nn.Linear(3, 40), (5, 3)),
    "wide to narrow": (NormedLinear(40, 3), nn.Linear(40, 3), (5, 40)),
    "large batch": (NormedLinear(4, 3), nn.Linear(4, 3), (50, 4)),
    "convolution of a small map": (NormedConv(8, 6, 0.2), nn.Conv2d(8, 6, 4, 2, 1), (2, 8, 4, 4)),
    "convolution of a large map": (NormedConv(2, 3, 0.2), nn.Conv2d(2, 3, 4, 2, 1), (2, 2, 16, 16)),
    "transposed convolution": (NormedUpConv(4, 3, 8), nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=False), (2, 4, 4, 4)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("input_gradient", [True, False])
def test_outputs_and_gradients_equal_torchs(name, input_gradient):
    ours, plain, shape = CASES[name]
    ours.zero_grad()
    ours.double()
    with torch.no_grad():
        ours.gain.mul_(1.3)
        plain.double().weight.copy_(ours.weight)
        if plain.bias is not None:
            plain.bias.copy_(ours.bias.normal_())
    theirs = weight_norm(nn.Sequential(plain)[0], dim=None)
    with torch.no_grad():
        theirs.parametrizations.weight.original0.fill_(ours.gain * ours.norm)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=input_gradient)
    y = x.detach().clone().requires_grad_(input_gradient)
    got, expected = ours(x), theirs(y)
    torch.testing.assert_close(got, expected)
    weight = torch.randn_like(got)
    (got * weight).sum().backward()
    (expected * weight).sum().backward()
    parametrized = theirs.parametrizations.weight
    torch.testing.assert_close(ours.gain.grad, ours.norm * parametrized.original0.grad.reshape(()))
    torch.testing.assert_close(ours.weight.grad, parametrized.original1.grad)
    if input_gradient:
        torch.testing.assert_close(x.grad, y.grad)
    nn.utils.parametrize.remove_parametrizations(theirs, "weight")


def test_the_length_of_the_direction_does_not_matter():
    layer = NormedLinear(6, 4)
    x = torch.randn(3, 6)
    before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(5)
    torch.testing.assert_close(layer(x), before)


@pytest.mark.parametrize("name", CASES)
def test_a_frozen_layer_computes_its_weight_once_and_follows_it_again_afterwards(name):
    layer, _, shape = CASES[name]
    x = torch.randn(shape, dtype=layer.weight.dtype, requires_grad=True)
    expected = layer(x)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    with frozen(layer):
        got = layer(x)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(torch.autograd.grad(got.sum(), x)[0], slope)
    with torch.no_grad():
        layer.gain.mul_(2)
    torch.testing.assert_close(layer(x) - layer(x * 0), 2 * (expected - layer(x * 0)))


def test_a_frozen_layer_within_a_frozen_model_stays_right():
    layer = NormedLinear(6, 4)
    x = torch.randn(3, 6)
    expected = layer(x)
    with frozen(layer):
        with frozen(layer):
            pass
        torch.testing.assert_close(layer(x), expected)
