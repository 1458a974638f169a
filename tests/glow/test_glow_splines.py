"""Splines of the coupling `spline` survive steep bins, in float32 and with gradients."""

from __future__ import annotations

import pytest
import torch
from lipflow_glow.splines import rational_quadratic_spline

COUNT, BINS, BOUND = 100_000, 8, 5.0


def bend(inputs, logits, *, inverse):
    widths, heights, derivatives = logits.split([BINS, BINS, BINS - 1], -1)
    return rational_quadratic_spline(
        inputs,
        widths,
        heights,
        derivatives,
        inverse=inverse,
        bound=BOUND,
        min_width=1e-3,
        min_derivative=1e-3,
    )


@pytest.fixture(params=[1.0, 5.0, 10.0, 20.0], ids="logits of standard deviation {}".format)
def steep(request):
    """Random splines, and a number for each within its interval and a little beyond."""
    generator = torch.Generator().manual_seed(0)
    logits = request.param * torch.randn(COUNT, 3 * BINS - 1, generator=generator)
    return 1.05 * BOUND * (2 * torch.rand(COUNT, generator=generator) - 1), logits


def test_the_inverse_leads_back(steep):
    numbers, logits = steep
    code, log_slope = bend(numbers, logits, inverse=True)
    back, log_slope_back = bend(code, logits, inverse=False)
    assert torch.isfinite(log_slope).all() and torch.isfinite(log_slope_back).all()
    assert (code.abs() <= numbers.abs().clamp(min=BOUND)).all()
    torch.testing.assert_close(back, numbers, rtol=0, atol=2e-3)


@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_are_finite(steep, inverse):
    numbers, logits = (tensor.requires_grad_() for tensor in steep)
    bent, log_slope = bend(numbers, logits, inverse=inverse)
    for gradient in torch.autograd.grad((bent + log_slope).sum(), (numbers, logits)):
        assert torch.isfinite(gradient).all()


def test_the_ends_of_the_interval_stay():
    logits = 10 * torch.randn(100, 3 * BINS - 1, generator=torch.Generator().manual_seed(1))
    for end in (-BOUND, BOUND):
        for inverse in (False, True):
            bent, _ = bend(torch.full((100,), end), logits, inverse=inverse)
            assert (bent == end).all()
