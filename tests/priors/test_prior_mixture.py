"""The Gaussian mixture against torch.distributions."""

from __future__ import annotations

import torch
from prior_parts import PRIORS, make_encoding, make_prior
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

POSTERIOR, DRIVING = make_encoding(seed=1), make_encoding(seed=2)


def test_density_is_torchs_mixture():
    bound = make_prior(PRIORS["mixture"]).condition(DRIVING)
    weights = Categorical(logits=bound.log_weights)
    expected = MixtureSameFamily(weights, Independent(Normal(bound.mean, bound.log_std.exp()), 1))
    torch.testing.assert_close(bound.log_prob(POSTERIOR.mean), expected.log_prob(POSTERIOR.mean))


def test_bound_is_the_kl_for_one_component():
    prior = make_prior({"type": "mixture", "components": 1})
    bound = prior.condition(DRIVING)
    component = Independent(Normal(bound.mean[:, 0], bound.log_std[:, 0].exp()), 1)
    made = prior.divergence(POSTERIOR, POSTERIOR.mean, DRIVING)
    torch.testing.assert_close(made, kl_divergence(POSTERIOR.distribution, component) / 3)


def test_bound_lies_above_the_kl():
    prior, many = make_prior(PRIORS["mixture"]), torch.arange(4).repeat_interleave(20_000)
    exact = make_prior(PRIORS["mixture-sample"])
    posterior, driving = POSTERIOR.rows(many), DRIVING.rows(many)
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    code = posterior.mean + posterior.log_std.exp() * noise
    kl = exact.divergence(posterior, code, driving).view(4, -1).mean(1)
    bound = prior.divergence(POSTERIOR, POSTERIOR.mean, DRIVING)
    assert (bound > kl - 0.01).all()


def test_mode_is_the_highest_component():
    bound = make_prior(PRIORS["mixture"]).condition(DRIVING)
    heights = torch.stack([bound.log_prob(bound.mean[:, k]) for k in range(3)])
    torch.testing.assert_close(bound.log_prob(bound.mode()), heights.max(0).values)
