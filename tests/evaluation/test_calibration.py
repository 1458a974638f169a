"""Calibration tells priors that are right from those that are too sure, for every shipped prior."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from lipflow_kit.densities import GaussianDensity
from pydantic import TypeAdapter

import lipflow_core
from lipflow_core.cli import main
from lipflow_core.evaluation.calibration import Calibration, Ranks, calibration, rank
from lipflow_core.parts import PriorSlot
from lipflow_core.records import Encoding
from lipflow_core.registry import default_registry
from lipflow_core.testing import inputs
from lipflow_core.testing.world import spherical

FRAMES, SIZE = 600, 4
NARROW = math.log(1e-4)


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def codes_of(prior_mean, prior_std, posterior_std):
    """Posteriors of which one sample each follows N(prior_mean, prior_std)."""
    mean = prior_mean + math.sqrt(prior_std**2 - posterior_std**2) * normal(1, FRAMES, SIZE)
    return Encoding(mean, torch.full_like(mean, math.log(posterior_std)), mean)


def calibrated(prior, posterior):
    return calibration(rank(prior, posterior, torch.Generator().manual_seed(0)))


def covered(prior_std, kind, level):
    mean = 3 * normal(0, FRAMES, SIZE)
    prior = GaussianDensity(mean, torch.full_like(mean, math.log(prior_std)))
    return calibrated(prior, codes_of(mean, 1.0, 0.6)).figure(f"{kind}.{level}")


@pytest.mark.parametrize("kind", ["dimension", "joint"])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_a_prior_that_is_right_covers_what_its_levels_say(kind, level):
    assert covered(1.0, kind, level) == pytest.approx(level, abs=0.05)


@pytest.mark.parametrize("kind", ["dimension", "joint"])
def test_an_overconfident_prior_covers_less_and_a_wide_one_more(kind):
    assert covered(0.5, kind, 0.5) < 0.3
    assert covered(2.0, kind, 0.5) > 0.7


def test_a_prior_that_is_off_the_mark_covers_less():
    mean = 3 * normal(0, FRAMES, SIZE)
    moved = calibrated(GaussianDensity(mean + 2, torch.zeros_like(mean)), codes_of(mean, 1.0, 0.6))
    assert moved.figure("joint.0.9") < 0.3 and moved.figure("dimension.0.9") < 0.6


def test_a_prior_of_one_row_is_asked_about_every_frame():
    zero = torch.zeros(1, SIZE, dtype=torch.float64)
    found = calibrated(GaussianDensity(zero, zero, broadcasts=True), codes_of(torch.zeros(FRAMES, SIZE), 1.0, 0.6))
    assert found.figure("joint.0.5") == pytest.approx(0.5, abs=0.05)
    assert found.width == pytest.approx(1.0, abs=0.05)


def test_the_likelihood_is_in_nats_per_dimension():
    mean = torch.zeros(FRAMES, SIZE, dtype=torch.float64)
    found = calibrated(GaussianDensity(mean, mean), codes_of(mean, 1.0, 0.6))
    assert found.figure("nll.q_samples") == pytest.approx(0.5 * math.log(2 * math.pi) + 0.5, abs=0.03)
    assert found.figure("nll.q_mean") == pytest.approx(0.5 * math.log(2 * math.pi) + 0.5 * (1 - 0.36), abs=0.03)


def test_the_standardised_likelihood_does_not_depend_on_the_scale_of_the_codes():
    mean = 3 * normal(0, FRAMES, SIZE)
    standardized = [
        calibrated(GaussianDensity(s * mean, torch.full_like(mean, math.log(s))), codes_of(s * mean, s, 0.6 * s))
        for s in (1.0, 5.0)
    ]
    one, other = (found.figure("nll.standardized") for found in standardized)
    assert one == pytest.approx(0.5 * math.log(2 * math.pi) + 0.5 - math.log(math.sqrt(10)), abs=0.05)
    assert other == pytest.approx(one, abs=0.01)


def test_width_is_that_of_the_prior_over_the_spread_of_codes():
    mean = 3 * normal(0, FRAMES, SIZE)
    narrow = calibrated(GaussianDensity(mean, torch.full_like(mean, math.log(0.5))), codes_of(mean, 1.0, 0.6))
    assert narrow.width == pytest.approx(0.5 / math.sqrt(10), rel=0.05)


@pytest.mark.parametrize("name", default_registry().names("prior"))
def test_every_prior_is_right_about_its_own_samples(name):
    """Untrained, but moved from where it started; its flow, if it takes one, is not the identity."""
    registry = default_registry()
    part = TypeAdapter(PriorSlot).validate_python(name, context={"registry": registry, "preset": "tiny"})
    torch.manual_seed(0)
    given = spherical(registry).given(part, registry)
    prior = part.build(given).eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    driving = inputs.encoding(100, seed=1) if "driving" in prior.planned.needs else None
    conditioned = prior.condition(driving)
    # Ranks of four codes a frame, each its own.
    with torch.no_grad():
        codes = conditioned.sample(4 if driving is not None else 400, torch.Generator().manual_seed(5))
    parts = [
        rank(conditioned, Encoding(code, torch.full_like(code, NARROW), code), torch.Generator().manual_seed(i))
        for i, code in enumerate(codes if driving is not None else codes.transpose(0, 1))
    ]
    found = calibration(Ranks.join(parts))
    for kind in ("joint", "dimension"):
        for level in (0.5, 0.9):
            assert found.figure(f"{kind}.{level}") == pytest.approx(level, abs=0.1), kind


def test_a_code_without_a_likelihood_lies_outside_and_is_null():
    mean = torch.zeros(3, SIZE, dtype=torch.float64)
    posterior = Encoding(mean.clone(), torch.full_like(mean, NARROW), mean)
    posterior.mean[0] = math.nan
    found = calibrated(GaussianDensity(mean, mean), posterior)
    assert found.figure("joint.0.95") == pytest.approx(2 / 3)
    assert math.isfinite(found.figure("nll.standardized"))  # the sound frames tell the spread of codes
    data = json.loads(found.json_text())
    assert data["nll"]["q_mean"][0] is None and data["figures"]["nll.q_mean"] == found.figure("nll.q_mean")
    assert Calibration.model_validate(data).figure("nll.q_mean") == found.figure("nll.q_mean")


def test_the_command_prints_and_writes_it(trained, tmp_path, capsys):
    models = [str(path) for path in trained.values()]
    assert main(["evaluate", *models, "fitting.steps=1", "--count", "3", "--quiet", "--out", str(tmp_path)]) == 0
    assert "NLL of Q's mean" in capsys.readouterr().out
    data = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    for model in data["models"]:
        found = model["calibration"]
        assert len(found["nll"]["q_mean"]) == 3
        assert len(found["levels"]) == len(found["coverage"]["joint"]) == 19
        assert np.all(np.diff(found["coverage"]["dimension"]) >= 0)
        assert found["width"] > 0
    assert ",q_mean,nll,nats per dimension," in (tmp_path / "scores.csv").read_text(encoding="utf-8")


def test_a_model_whose_q_is_its_driving_encoder_says_why_there_is_none(tmp_path):
    given = ["preset=tiny", "encoder={same_as: driving}", "training.stages=[{steps: 2}]", "fitting.steps=1"]
    lipflow_core.train(lipflow_core.load_spec("lip-flow-hmc", given), tmp_path / "model")
    evaluation = lipflow_core.evaluate(tmp_path / "model", count=2)
    assert json.loads(evaluation.json_text())["models"][0]["calibration"] is None
    assert evaluation.calibration_table().startswith("lip-flow-hmc: Q is the driving encoder itself")
