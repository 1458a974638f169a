"""Training divergences against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from prior_parts import CODE, PRIORS, driving_for, leaves, make_encoding, make_prior
from torch.distributions import Independent, Normal, kl_divergence

POSTERIOR, DRIVING = make_encoding(seed=1), make_encoding(seed=2)
SAMPLE = make_encoding(seed=3).mean


def divergence(name, coupling="affine", posterior=POSTERIOR, driving=DRIVING):
    prior = make_prior(PRIORS[name], coupling)
    return prior, prior.divergence(posterior, SAMPLE, driving if "driving" in prior.planned.needs else None)


def test_standard_normal_is_kl_to_the_standard_normal():
    standard = Independent(Normal(torch.zeros(4, CODE).double(), 1.0), 1)
    torch.testing.assert_close(divergence("standard-normal")[1], kl_divergence(POSTERIOR.distribution, standard) / CODE)


def test_kl_is_from_posterior_to_driving():
    torch.testing.assert_close(divergence("kl")[1], kl_divergence(POSTERIOR.distribution, DRIVING.distribution) / CODE)


def test_reverse_kl_is_from_driving_to_posterior():
    expected = kl_divergence(DRIVING.distribution, POSTERIOR.distribution) / CODE
    torch.testing.assert_close(divergence("kl-reverse")[1], expected)


def test_likelihood_is_that_of_the_code():
    torch.testing.assert_close(divergence("kl-likelihood")[1], -DRIVING.distribution.log_prob(SAMPLE) / CODE)


def test_fixed_std_replaces_the_driving_one():
    fixed = Independent(Normal(DRIVING.mean, 0.7), 1)
    torch.testing.assert_close(divergence("kl-fixed")[1], kl_divergence(POSTERIOR.distribution, fixed) / CODE)


def test_flow_is_the_likelihood_through_the_flow():
    prior, made = divergence("lip-flow")
    mapped, log_det = prior.flow(SAMPLE, DRIVING.features)
    torch.testing.assert_close(made, -(DRIVING.distribution.log_prob(mapped) + log_det) / CODE)


def test_dam_flow_is_the_likelihood_under_a_standard_normal():
    prior, made = divergence("dam-flow")
    mapped, log_det = prior.flow(SAMPLE)
    expected = Independent(Normal(torch.zeros(CODE).double(), 1.0), 1).log_prob(mapped) + log_det
    torch.testing.assert_close(made, -expected / CODE)


def test_kept_entropy_is_the_posteriors():
    added = divergence("lip-flow-entropy")[1] - divergence("lip-flow")[1]
    torch.testing.assert_close(added, -POSTERIOR.distribution.entropy() / CODE)


def test_a_driving_entropy_penalty_is_on_the_driving_gaussian():
    added = divergence("lip-flow-driving-entropy")[1] - divergence("lip-flow")[1]
    torch.testing.assert_close(added, DRIVING.distribution.entropy() / CODE)


@pytest.mark.parametrize("name", ["lip-flow", "flow-student"])
def test_a_prior_entropy_penalty_is_on_the_density_of_the_codes(name):
    """For a flow that preserves volume exactly, as −log p of many samples tells."""
    prior = make_prior(PRIORS[name], "additive")
    conditioned = prior.condition(DRIVING.rows(torch.arange(1)))
    draws = conditioned.sample(200_000, torch.Generator().manual_seed(0)).flatten(0, 1)
    entropy = -prior.condition(DRIVING.rows(torch.zeros(len(draws), dtype=torch.int64))).log_prob(draws).mean()
    options = {**PRIORS[name], "prior_entropy": 1.0}
    added = make_prior(options, "additive").divergence(POSTERIOR, SAMPLE, DRIVING) - prior.divergence(
        POSTERIOR, SAMPLE, DRIVING
    )
    torch.testing.assert_close(added[0], entropy / CODE, rtol=0.01, atol=0.005)


@pytest.mark.parametrize(("name", "gain"), [("lip-flow-kpt", 0), ("lip-flow-driving-entropy", 1)])
def test_base_and_flow_gain_by_shrinking_together_where_the_driving_gaussian_is_penalised_alone(name, gain):
    prior, before = divergence(name)
    log_scale = -5.0
    whole = prior.flow.forward

    def shrunk(code, context):
        mapped, log_det = whole(code, context)
        return math.exp(log_scale) * mapped, log_det + CODE * log_scale

    prior.flow.forward = shrunk
    driving = type(DRIVING)(math.exp(log_scale) * DRIVING.mean, DRIVING.log_std + log_scale, DRIVING.features)
    after = prior.divergence(POSTERIOR, SAMPLE, driving)
    torch.testing.assert_close(before - after, torch.full_like(before, -gain * log_scale))


def test_kept_entropy_makes_it_the_kl_on_average():
    """With an identity flow the mean over samples of Q is KL(Q‖P) in closed form."""
    prior = make_prior(PRIORS["lip-flow-entropy"], "additive")
    for parameter in prior.flow.parameters():
        torch.nn.init.zeros_(parameter)
    for linear in list(prior.flow._transforms)[1::3]:
        torch.nn.init.constant_(linear.unconstrained_upper_diag, math.log(math.expm1(1 - linear.eps)))
    many = torch.arange(4).repeat_interleave(20_000)
    posterior, driving = POSTERIOR.rows(many), DRIVING.rows(many)
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    code = posterior.mean + posterior.log_std.exp() * noise
    made = prior.divergence(posterior, code, driving).view(4, -1).mean(1)
    expected = kl_divergence(POSTERIOR.distribution, DRIVING.distribution) / CODE
    torch.testing.assert_close(made, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", [name for name in PRIORS if name.startswith(("standard", "kl"))])
def test_is_per_dimension(name):
    """Codes of twice the size with the same statistics cost the same."""
    single = make_prior(PRIORS[name])
    double = make_prior(PRIORS[name], code=2 * CODE)

    def twice(encoding):
        return type(encoding)(encoding.mean.repeat(1, 2), encoding.log_std.repeat(1, 2), encoding.features)

    needs = "driving" in single.planned.needs
    one = single.divergence(POSTERIOR, SAMPLE, DRIVING if needs else None)
    two = double.divergence(twice(POSTERIOR), SAMPLE.repeat(1, 2), twice(DRIVING) if needs else None)
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("coupling", ["additive", "spline"])
@pytest.mark.parametrize("name", PRIORS)
def test_gradients_reach_everything_that_should_learn(name, coupling):
    prior = make_prior(PRIORS[name], coupling).train()
    posterior, driving = leaves(make_encoding(16, seed=4)), driving_for(prior, size=16, seed=5)
    driving = driving if driving is None else leaves(driving)
    code = posterior.mean + posterior.log_std.exp() * 0.3
    prior.divergence(posterior, code, driving).sum().backward()
    learning = {"mean": posterior.mean, "log_std": posterior.log_std, **dict(prior.named_parameters())}
    if driving is not None:
        learning["driving mean"] = driving.mean
        if "fixed" not in name:
            learning["driving log_std"] = driving.log_std
        if "flow" in name:
            learning["driving features"] = driving.features
    assert [key for key, tensor in learning.items() if tensor.grad is None or not tensor.grad.abs().max() > 0] == []


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("size", [0, 1])
def test_empty_and_single_batches(name, size):
    prior = make_prior(PRIORS[name]).train()
    posterior = make_encoding(size)
    assert prior.divergence(posterior, posterior.mean, driving_for(prior, size=size)).shape == (size,)


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("log_std", [-1e3, 1e3])
def test_wild_log_std_overflows_nothing_in_float32(name, log_std):
    prior = make_prior(PRIORS[name]).float()
    wild = make_encoding(4).apply(lambda tensor: tensor.float())
    wild = leaves(type(wild)(wild.mean, torch.full_like(wild.mean, log_std), wild.features))
    result = prior.divergence(wild, SAMPLE.float(), wild if "driving" in prior.planned.needs else None)
    result.sum().backward()
    assert result.isfinite().all()
    assert all(t.grad is None or t.grad.isfinite().all() for t in (wild.mean, wild.log_std, wild.features))
