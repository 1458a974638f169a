"""Checks latent priors: density, samples, and the conditioned prior that fitting uses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from lipflow_core.interfaces import ConditionedPrior
from lipflow_core.plans import Plan
from lipflow_core.records import Encoding
from lipflow_core.testing import inputs
from lipflow_core.testing.module import code_of, driving_of
from lipflow_core.testing.subject import Check, Subject, close, refused

FLOAT64 = torch.float64


def _prior(subject: Subject, batch: int = 3) -> tuple[Any, Encoding | None]:
    return subject.build(jitter=0.05, dtype=FLOAT64), driving_of(subject, batch, 11, FLOAT64)


def _conditioned(subject: Subject, batch: int = 3) -> ConditionedPrior:
    prior, driving = _prior(subject, batch)
    return prior.condition(driving)


def log_prob_agrees_with_conditioned(subject: Subject) -> None:
    prior, driving = _prior(subject)
    code = code_of(subject, 3, 1, FLOAT64)
    conditioned = prior.condition(driving).log_prob(code)
    close("log_prob is not that of the conditioned prior", prior.log_prob(code, driving), conditioned)


def log_prob_gradient(subject: Subject) -> None:
    conditioned = _conditioned(subject)
    for log_prob in (conditioned.log_prob, conditioned.fitting_log_prob):
        code = code_of(subject, 3, 1, FLOAT64).requires_grad_()
        (gradient,) = torch.autograd.grad(log_prob(code).sum(), code)
        step = inputs.normal(5, *code.shape, dtype=FLOAT64)
        with torch.no_grad():
            change = log_prob(code + 1e-5 * step) - log_prob(code - 1e-5 * step)
        slope = (gradient * step).sum(-1)
        close(f"the gradient of {log_prob.__name__} is not its slope", slope, change / 2e-5, 1e-4)


def rows_can_be_chosen(subject: Subject) -> None:
    conditioned, code = _conditioned(subject), code_of(subject, 3, 1, FLOAT64)
    everything, climbed = conditioned.log_prob(code), conditioned.fitting_log_prob(code)
    for index in (torch.tensor([2, 0, 0, 1]), torch.tensor([True, False, True]), torch.zeros(0, dtype=torch.int64)):
        chosen = conditioned.rows(index)
        what = f"rows({index.tolist()}) are not those of the whole"
        close(what, chosen.log_prob(code[index]), everything[index])
        close(what, chosen.fitting_log_prob(code[index]), climbed[index])


def mode_and_samples_have_their_shapes(subject: Subject) -> None:
    conditioned = _conditioned(subject)
    batches = (3,) if "driving" in subject.planned.needs else (1, 3)
    mode = conditioned.mode()
    assert mode.shape[0] in batches and mode.shape[1:] == (subject.given.code,), f"mode has shape {tuple(mode.shape)}"
    assert torch.isfinite(mode).all(), "its mode is not finite"
    for count in (0, 1, 5):
        sample = conditioned.sample(count, torch.Generator().manual_seed(0))
        assert sample.shape == (count, *mode.shape), f"{count} samples have shape {tuple(sample.shape)}"


def samples_depend_on_the_seed_alone(subject: Subject) -> None:
    conditioned = _conditioned(subject)
    before = torch.random.get_rng_state()
    one, same, other = (conditioned.sample(4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same), "two samples from one seed differ"
    assert not torch.equal(one, other), "samples from two seeds are equal"
    assert torch.equal(before, torch.random.get_rng_state()), "sampling draws from torch's global generator"


def samples_follow_the_density(subject: Subject) -> None:
    """Check Stein's identity, E[z·∇log p(z)] = −D and E[∇log p(z)] = 0 for z ~ p, within five standard errors."""
    conditioned = _conditioned(subject, 1)
    count = 4_000
    code = conditioned.sample(count, torch.Generator().manual_seed(0))[:, 0].detach().requires_grad_()
    log_prob = conditioned.rows(torch.zeros(count, dtype=torch.int64)).log_prob(code)
    (score,) = torch.autograd.grad(log_prob.sum(), code)
    size = subject.given.code
    centred = code.detach() - code.detach().mean(0)
    for name, values, expected in (
        ("E[(z − E z)·∇log p]", (centred * score).sum(-1), -float(size)),
        *((f"E[∂log p/∂z{i}]", score[:, i], 0.0) for i in range(size)),
    ):
        error = float(values.std() / count**0.5)
        distance = abs(float(values.mean()) - expected)
        assert distance < 5 * error + 1e-6, (
            f"samples do not follow the density: {name} = {float(values.mean()):.4f} ± {error:.4f}, not {expected}"
        )


def density_integrates_to_one(subject: Subject) -> None:
    """Check ∫ p(z) dz = 1 by importance sampling in two dimensions."""
    given = replace(subject.given, code=2)
    if given.driving is not None:
        outputs = {**given.driving.outputs, "mean": (2,), "log_std": (2,)}
        given = replace(given, driving=Plan(outputs=outputs, needs=given.driving.needs))
    small = replace(subject, given=given)
    conditioned = _conditioned(small, 1)
    samples = conditioned.sample(2_000, torch.Generator().manual_seed(0))[:, 0].detach()
    count = 40_000
    proposal = torch.distributions.StudentT(3.0, samples.mean(0), 1.5 * samples.std(0))
    noise = inputs.normal(3, count, 2, dtype=FLOAT64)
    chi = inputs.normal(4, count, 2, 3, dtype=FLOAT64).square().sum(-1) / 3
    code = proposal.loc + proposal.scale * noise / chi.sqrt()
    with torch.no_grad():
        log_prob = conditioned.rows(torch.zeros(count, dtype=torch.int64)).log_prob(code)
    weights = (log_prob - proposal.log_prob(code).sum(-1)).exp()
    error = float(weights.std() / count**0.5)
    assert abs(float(weights.mean()) - 1) < 5 * error + 0.01, (
        f"the density integrates to {float(weights.mean()):.4f} ± {error:.4f}, not to 1"
    )


def divergence_is_differentiable(subject: Subject) -> None:
    prior, driving = _prior(subject, 4)
    posterior = inputs.encoding(4, seed=20, dtype=FLOAT64, code=subject.given.code)
    leaves = {"mean": posterior.mean.requires_grad_(), "log_std": posterior.log_std.requires_grad_()}
    noise = inputs.normal(9, *posterior.mean.shape, dtype=FLOAT64)
    code = posterior.mean + posterior.log_std.exp() * noise
    divergence = prior.divergence(posterior, code, driving)
    assert torch.isfinite(divergence).all(), f"the divergence is not finite: {divergence.tolist()}"
    gradients = torch.autograd.grad(divergence.sum(), list(leaves.values()), allow_unused=True)
    for name, gradient in zip(leaves, gradients, strict=True):
        assert gradient is not None and gradient.abs().max() > 0, f"no gradient reaches Q's {name}"
        assert torch.isfinite(gradient).all(), f"the gradient is not finite at Q's {name}"


def initialization_is_stable(subject: Subject) -> None:
    prior = subject.build(dtype=FLOAT64)
    takes_driving = "driving" in subject.planned.needs
    driving = inputs.encoding(300, seed=4, dtype=FLOAT64, code=subject.given.code) if takes_driving else None
    code = 3.0 + 2.0 * inputs.normal(6, 300, subject.given.code, dtype=FLOAT64)
    prior.initialize(code, driving)
    assert prior.initialized, "the prior is still not initialized after initialize()"
    log_prob = prior.eval().log_prob(code, driving)
    assert torch.isfinite(log_prob).all(), "after initialize() log_prob of the same codes is not finite"


def missing_driving_is_refused(subject: Subject) -> None:
    if "driving" not in subject.planned.needs:
        return
    prior = subject.build()
    code = code_of(subject, 2, 1, torch.float32)
    with refused(ValueError, "a prior that needs the driving signal takes None without an error"):
        prior.log_prob(code, None)


def conditioned_is_of_its_contract(subject: Subject) -> None:
    conditioned = _conditioned(subject)
    made = type(conditioned).__name__
    assert isinstance(conditioned, ConditionedPrior), f"condition() must give a ConditionedPrior, it gives a {made}"
    shape = tuple(conditioned.log_prob(code_of(subject, 3, 1, FLOAT64)).shape)
    assert shape == (3,), f"log_prob of 3 codes must have shape (3,), it has {shape}"


def base_space_leads_back(subject: Subject) -> None:
    density, code = _conditioned(subject), code_of(subject, 3, 1, FLOAT64)
    try:
        point = density.to_base(code)
    except NotImplementedError:
        assert not subject.planned.base_space, "its plan says base_space=True, but its density has no to_base"
        return
    assert subject.planned.base_space, "its density has a base space, which its plan must say: base_space=True"
    close("from_base does not lead back to the code", density.from_base(point), code, 1e-7)
    mode = density.mode()
    close("to_base does not map the mode to zero", density.to_base(mode), torch.zeros_like(mode), 1e-7)


CHECKS = [
    Check("log_prob agrees with the conditioned prior's", log_prob_agrees_with_conditioned),
    Check("log_prob's gradient agrees with finite differences", log_prob_gradient),
    Check("rows can be chosen", rows_can_be_chosen),
    Check("mode and samples have their shapes", mode_and_samples_have_their_shapes),
    Check("samples depend on the seed alone", samples_depend_on_the_seed_alone),
    Check("samples follow the density", samples_follow_the_density),
    Check("the density integrates to one", density_integrates_to_one),
    Check("divergence reaches Q's mean and spread", divergence_is_differentiable),
    Check("initialization is stable", initialization_is_stable),
    Check("a missing driving signal is refused", missing_driving_is_refused),
    Check("the conditioned prior is of its contract", conditioned_is_of_its_contract),
    Check("base space leads back to the code", base_space_leads_back),
]
