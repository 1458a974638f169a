"""The Student-t base against torch.distributions and its limit."""

from __future__ import annotations

import pytest
import torch
from lipflow_student.prior import StudentDensity
from prior_parts import make_encoding
from torch.distributions import Independent, Normal, StudentT

ENCODING, CODE = make_encoding(seed=2), make_encoding(seed=3).mean


def test_in_one_dimension_it_is_torchs():
    made = StudentDensity(5, ENCODING.mean[:, :1], ENCODING.log_std[:, :1]).log_prob(CODE[:, :1])
    expected = StudentT(5.0, ENCODING.mean[:, 0], ENCODING.log_std[:, 0].exp()).log_prob(CODE[:, 0])
    torch.testing.assert_close(made, expected)


def test_many_degrees_of_freedom_make_it_gaussian():
    made = StudentDensity(10**7, ENCODING.mean, ENCODING.log_std).log_prob(CODE)
    expected = Independent(Normal(ENCODING.mean, ENCODING.log_std.exp()), 1).log_prob(CODE)
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("distance", [10.0, 1000.0])
def test_its_pull_fades_with_distance(distance):
    code = (ENCODING.mean + distance).requires_grad_()
    density = StudentDensity(5, ENCODING.mean.detach(), torch.zeros_like(ENCODING.mean))
    (pull,) = torch.autograd.grad(density.log_prob(code).sum(), code)
    assert pull.abs().max() < 10 / distance
