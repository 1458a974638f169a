"""Priors with their driving signal fixed: density, modes, samples, rows."""

from __future__ import annotations

import pytest
import torch
from prior_parts import CODE, PRIORS, driving_for, make_encoding, make_prior
from torch.distributions import Independent, StudentT

CASES = [(name, "additive") for name in PRIORS]
CASES += [(name, coupling) for name in ("lip-flow", "dam-flow") for coupling in ("affine", "spline")]


@pytest.fixture(params=CASES, ids="-".join)
def prior(request):
    name, coupling = request.param
    return make_prior(PRIORS[name], coupling)


def test_values_and_gradients_are_the_priors(prior):
    driving, code = driving_for(prior), make_encoding(seed=7).mean

    def with_gradient(log_prob):
        leaf = code.clone().requires_grad_()
        value = log_prob(leaf)
        return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]

    wanted = with_gradient(lambda leaf: prior.log_prob(leaf, driving))
    made = with_gradient(prior.condition(driving).log_prob)
    torch.testing.assert_close(made, wanted, rtol=1e-12, atol=1e-12)


def importance_samples(bound, count=40_000):
    """Codes of a heavy-tailed proposal around the prior, their log-densities, and p / proposal."""
    draws = bound.sample(2_000, torch.Generator().manual_seed(0))[:, 0].detach()
    proposal = Independent(StudentT(3.0, draws.mean(0), 1.3 * draws.std(0)), 1)
    torch.manual_seed(0)
    code = proposal.sample((count,))
    with torch.no_grad():
        log_prob = bound.rows(torch.zeros(count, dtype=torch.int64)).log_prob(code)
    return log_prob, (log_prob - proposal.log_prob(code)).exp()


def test_density_integrates_to_one(prior):
    _, ratio = importance_samples(prior.condition(driving_for(prior, size=1)))
    assert ratio.mean().item() == pytest.approx(1, abs=6 * (ratio.std() / len(ratio) ** 0.5).item())


def test_samples_follow_the_density(prior):
    """The entropy estimated from samples is the integral of −p log p."""
    bound = prior.condition(driving_for(prior, size=1))
    log_prob, ratio = importance_samples(bound)
    by_integral = -ratio * log_prob
    with torch.no_grad():
        draws = bound.sample(len(ratio), torch.Generator().manual_seed(1))[:, 0]
        by_samples = -bound.rows(torch.zeros(len(ratio), dtype=torch.int64)).log_prob(draws)
    error = ((by_samples.var() + by_integral.var()) / len(ratio)).sqrt().item()
    assert by_samples.mean().item() == pytest.approx(by_integral.mean().item(), abs=6 * error)


@pytest.mark.parametrize("index", [torch.tensor([3, 0, 0]), torch.tensor([True, False, False, True])])
def test_rows_are_those_of_the_whole(prior, index):
    driving, code = driving_for(prior), make_encoding(seed=7).mean
    bound = prior.condition(driving)
    torch.testing.assert_close(bound.rows(index).log_prob(code[index]), bound.log_prob(code)[index])
    expected = bound.mode() if driving is None else bound.mode()[index]
    torch.testing.assert_close(bound.rows(index).mode(), expected)


@pytest.mark.parametrize("size", [0, 1])
def test_empty_and_single_batches(prior, size):
    driving = driving_for(prior, size=size)
    bound = prior.condition(driving)
    code = make_encoding(size, seed=7).mean
    assert bound.log_prob(code).shape == (size,)
    rows = 1 if driving is None else size
    assert bound.mode().shape == (rows, CODE)
    assert bound.sample(3, torch.Generator().manual_seed(0)).shape == (3, rows, CODE)


def test_samples_come_from_the_generator_alone(prior):
    bound = prior.condition(driving_for(prior))
    state = torch.get_rng_state()
    one, two = (bound.sample(5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two) and torch.equal(state, torch.get_rng_state())


def test_mode_without_driving_is_a_broadcasting_row():
    torch.testing.assert_close(
        make_prior(PRIORS["standard-normal"]).condition(None).mode(), torch.zeros(1, CODE).double()
    )


def test_start_of_fitting_is_the_driving_mean_mapped_back():
    prior, driving = make_prior(PRIORS["lip-flow"]), make_encoding()
    mapped, _ = prior.flow(prior.condition(driving).mode(), driving.features)
    torch.testing.assert_close(mapped, driving.mean)


def test_a_code_at_the_mode_of_an_additive_flow_has_no_gradient():
    prior, driving = make_prior(PRIORS["lip-flow"], "additive"), make_encoding()
    bound = prior.condition(driving)
    mode = bound.mode().detach().requires_grad_()
    (gradient,) = torch.autograd.grad(bound.log_prob(mode).sum(), mode)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)


def test_needs_its_driving_encoding():
    with pytest.raises(ValueError, match="needs the driving encoder's encoding"):
        make_prior(PRIORS["kl"]).log_prob(torch.zeros(1, CODE).double(), None)


def test_initialize_reaches_the_flow():
    prior, driving = make_prior(PRIORS["lip-flow"]), make_encoding(300)
    assert not prior.initialized
    prior.initialize(5 * make_encoding(300, seed=9).mean, driving)
    assert prior.initialized
