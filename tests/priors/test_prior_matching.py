"""The flow-matching prior against what is known in closed form, and trained on a density that is known."""

from __future__ import annotations

import math

import pytest
import torch
from lipflow_kit.densities import driving_gaussian, entropy
from pydantic import TypeAdapter
from torch.distributions import kl_divergence

from lipflow_core.densities import bounded_normal
from lipflow_core.parts import PriorSlot
from lipflow_core.plans import Plan, PriorInputs
from lipflow_core.records import Encoding

CODE, FEATURES = 4, 3


def make(code: int = CODE, features: int = FEATURES, *, jitter: float = 0.0, **options):
    """A float64 prior in evaluation mode; without jitter as it is before training."""
    driving = Plan(outputs={"mean": (code,), "log_std": (code,), "features": (features,)})
    options = {"type": "flow-matching", "hidden": 32, "blocks": 1, **options}
    torch.manual_seed(0)
    prior = TypeAdapter(PriorSlot).validate_python(options).build(PriorInputs(code=code, driving=driving))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(jitter * torch.randn(parameter.shape, generator=generator))
    return prior.double().eval()


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def encoding(seed: int, size: int = 5) -> Encoding:
    return Encoding(normal(seed, size, CODE), 0.3 * normal(seed + 100, size, CODE), normal(seed + 200, size, FEATURES))


def test_before_training_it_is_the_driving_gaussian_without_any_noise():
    prior, posterior, driving = make(), encoding(1), encoding(2)
    gaussian = driving_gaussian(driving, "driving")
    code = normal(3, 5, CODE)
    conditioned = prior.condition(driving)
    torch.testing.assert_close(conditioned.log_prob(code), gaussian.log_prob(code))
    torch.testing.assert_close(conditioned.fitting_log_prob(code), gaussian.log_prob(code))
    torch.testing.assert_close(conditioned.mode(), driving.mean)
    expected = kl_divergence(bounded_normal(posterior), gaussian.normal).mean(dim=1)
    torch.testing.assert_close(prior.divergence(posterior, code, driving), expected)
    torch.testing.assert_close(prior.train().divergence(posterior, code, driving), expected)


def test_dropping_the_posteriors_entropy_adds_it():
    posterior, driving, code = encoding(1), encoding(2), normal(3, 5, CODE)
    kept = make(jitter=0.1).divergence(posterior, code, driving)
    dropped = make(jitter=0.1, posterior_entropy="drop").divergence(posterior, code, driving)
    torch.testing.assert_close(dropped, kept + entropy(posterior))


def test_a_constant_network_shifts_the_gaussian():
    """n = m is the velocity of N(μ + σ m, σ): known for log p, its bound, mode and samples alike."""
    prior, driving, code = make(pairs=64, steps=16), encoding(2), normal(3, 5, CODE)
    shift = torch.tensor([0.5, -1.0, 0.2, 0.0], dtype=torch.float64)
    with torch.no_grad():
        prior.network.last.bias.copy_(shift)
    shifted = driving_gaussian(
        Encoding(driving.mean + driving.log_std.exp() * shift, driving.log_std, driving.features), "driving"
    )
    conditioned = prior.condition(driving)
    torch.testing.assert_close(conditioned.log_prob(code), shifted.log_prob(code), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(conditioned.fitting_log_prob(code), shifted.log_prob(code), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(conditioned.mode(), shifted.mode(), rtol=1e-5, atol=1e-5)
    draws = [density.sample(3, torch.Generator().manual_seed(0)) for density in (conditioned, shifted)]
    torch.testing.assert_close(*draws, rtol=1e-5, atol=1e-5)


def test_the_networks_trace_is_that_of_its_jacobian():
    prior = make(jitter=0.2)
    code, context = normal(3, 2, CODE), prior.network.context(normal(4, 2, FEATURES))
    shifts = prior.network.shifts(context, torch.tensor([[0.3]], dtype=torch.float64))
    value, trace = prior.network.with_trace(code, shifts, torch.eye(CODE, dtype=torch.float64))
    torch.testing.assert_close(value, prior.network(code, shifts))
    jacobian = torch.autograd.functional.jacobian(lambda code: prior.network(code, shifts), code)
    torch.testing.assert_close(trace, torch.stack([jacobian[i, :, i].trace() for i in range(2)]))


def test_probes_estimate_the_exact_divergence():
    driving, code = encoding(2, 50), normal(3, 50, CODE)
    exact = make(jitter=0.15).log_prob(code, driving)
    errors = [(make(jitter=0.15, probes=count).log_prob(code, driving) - exact).abs().mean() for count in (1, 400)]
    assert errors[1] < 0.02 and errors[1] < errors[0] / 5


@pytest.mark.parametrize("kind", ["log_prob", "fitting_log_prob"])
def test_gradients_are_those_of_finite_differences(kind):
    density = make(jitter=0.15).condition(encoding(2, 2))
    code = normal(3, 2, CODE).requires_grad_()
    assert torch.autograd.gradcheck(getattr(density, kind), (code,), eps=1e-6, atol=1e-6)


def test_the_way_back_leads_where_it_came_from():
    driving, start = encoding(2), normal(3, 5, CODE)
    errors = []
    for steps in (4, 32):
        density = make(jitter=0.15, steps=steps).condition(driving)
        end, _ = density.integrate(start)
        assert (end - start).abs().max() > 0.1
        errors.append((density.integrate(end, backwards=True)[0] - start).abs().max())
    assert errors[0] < 0.05 and errors[1] < 1e-4


def test_fitting_asks_for_what_the_spec_says():
    driving, code = encoding(2), normal(3, 5, CODE)
    exact = make(jitter=0.15, fitting="exact").condition(driving)
    assert torch.equal(exact.fitting_log_prob(code), exact.log_prob(code))
    assert not torch.equal(make(jitter=0.15).condition(driving).fitting_log_prob(code), exact.log_prob(code))


def test_training_draws_from_torchs_generator_and_evaluation_from_none():
    prior, posterior, driving, code = make(jitter=0.15), encoding(1), encoding(2), normal(3, 5, CODE)
    assert torch.equal(prior.divergence(posterior, code, driving), prior.divergence(posterior, code, driving))
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(prior.train().divergence(posterior, code, driving))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


STD = 0.4


class Known:
    """A mixture of two Gaussians on the first or the second axis, as the feature says; two dimensions."""

    def __init__(self, count: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.features = torch.randint(0, 2, (count, 1), generator=generator, dtype=torch.float64)
        axis = torch.cat([self.features, 1 - self.features], dim=1)
        sign = 2 * torch.randint(0, 2, (count, 1), generator=generator, dtype=torch.float64) - 1
        self.means = torch.stack([axis, -axis])
        self.code = sign * axis + STD * torch.randn(count, 2, generator=generator, dtype=torch.float64)
        self.driving = Encoding(
            torch.zeros(count, 2, dtype=torch.float64), torch.zeros(count, 2, dtype=torch.float64), self.features
        )

    def log_prob(self, code: torch.Tensor) -> torch.Tensor:
        within = -(code - self.means).square().sum(dim=2) / (2 * STD**2)
        return within.logsumexp(dim=0) - math.log(2) - 2 * math.log(STD) - math.log(2 * math.pi)


@pytest.fixture(scope="module")
def trained():
    prior = make(2, 1, hidden=48, steps=8).float().train()
    optimizer = torch.optim.Adam(prior.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
    torch.manual_seed(0)
    for step in range(500):
        known = Known(256, 1000 + step)
        code, driving = known.code.float(), known.driving.apply(torch.Tensor.float)
        loss = prior.divergence(Encoding(code, torch.zeros_like(code), code), code, driving).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return prior.double().eval()


def test_trained_it_is_the_density_of_its_codes(trained):
    known = Known(1000, 1)
    with torch.no_grad():
        found = trained.log_prob(known.code, known.driving)
    truth = known.log_prob(known.code)
    best_gaussian = -0.5 * math.log((1 + STD**2) * STD**2) - math.log(2 * math.pi * math.e)
    assert (truth - found).mean() < 0.06, "KL(truth‖found)"
    assert (truth - found).abs().mean() < 0.25
    assert found.mean() > best_gaussian + 0.2


def test_trained_it_integrates_to_one(trained):
    line = torch.linspace(-4, 4, 51, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    for feature in (0.0, 1.0):
        zero = torch.zeros(len(grid), 2, dtype=torch.float64)
        driving = Encoding(zero, zero, torch.full((len(grid), 1), feature, dtype=torch.float64))
        with torch.no_grad():
            total = trained.log_prob(grid, driving).exp().sum() * (line[1] - line[0]) ** 2
        assert float(total) == pytest.approx(1, abs=0.01)


def test_trained_its_samples_have_the_spread_of_its_codes(trained):
    known = Known(2, 3)
    with torch.no_grad():
        draws = trained.condition(known.driving).sample(4000, torch.Generator().manual_seed(0))
    along = (known.means[0] ** 2 + STD**2).sqrt()
    torch.testing.assert_close(draws.std(dim=0), along, rtol=0.05, atol=0)


def test_trained_the_surrogate_climbs_the_way_the_density_does(trained):
    known = Known(300, 4)
    code, density = known.code.requires_grad_(), trained.condition(known.driving)
    (exact,) = torch.autograd.grad(density.log_prob(code).sum(), code)
    (surrogate,) = torch.autograd.grad(density.fitting_log_prob(code).sum(), code)
    (truth,) = torch.autograd.grad(known.log_prob(code).sum(), code)
    assert torch.cosine_similarity(exact, truth).mean() > 0.95
    assert torch.cosine_similarity(surrogate, exact).mean() > 0.95
    assert torch.cosine_similarity(surrogate, truth).mean() > 0.95


def test_trained_the_surrogate_lies_close_to_the_density(trained):
    known = Known(1000, 5)
    with torch.no_grad():
        density = trained.condition(known.driving)
        gap = density.log_prob(known.code) - density.fitting_log_prob(known.code)
    assert gap.mean().abs() < 0.15 and gap.abs().median() < 0.15
