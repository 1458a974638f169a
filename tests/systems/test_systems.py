"""The paper's systems, each a shipped spec: every one fits together at every preset, trains, and fits faces."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

import lipflow_core
from lipflow_core.ablation.grid import load_grid
from lipflow_core.cli import main
from lipflow_core.config import Ramp
from lipflow_core.fitting import fit
from lipflow_core.planning import plan
from lipflow_core.plans import CaptureInputs
from lipflow_core.selection import spread
from lipflow_core.specs import load_spec, shipped_specs
from lipflow_core.specs.model import PRESETS
from lipflow_core.splits import load_frames
from lipflow_core.weights import weights_of

SYSTEMS = shipped_specs()
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "systems.md"
QUICK = (
    "preset=tiny",
    "device=cpu",
    "renderer=cpu",
    "training.threads=1",
    "fitting.steps=4",
    "fitting.optimizer.learning_rate=0.003",
)


@cache
def dome():
    return load_spec("dam", QUICK).capture.build(CaptureInputs())


def trained(name, path, *overrides):
    spec = load_spec(name, [*QUICK, *overrides])
    return lipflow_core.train(spec, path / name, capture=dome()), spec


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", SYSTEMS)
def test_fits_together_at_every_preset(name, preset, capsys):
    assert main(["assemble", name, f"preset={preset}", "--check"]) == 0
    assert f"{name}: the parts fit together" in capsys.readouterr().out


@pytest.mark.parametrize("name", SYSTEMS)
def test_trains_and_fits(name, tmp_path):
    run, spec = trained(name, tmp_path, "training.stages.0.steps=3")
    assert all(stage.steps >= 3 for stage in run.stages)
    split = dome().split("held-out")
    target = load_frames(split, spread(2, len(split)), plan(spec).fitted_observations)
    result = fit(run.avatar, target, spec.fitting)
    assert result.codes.shape == (2, spec.code)
    assert all(torch.isfinite(curve).all() for curve in result.curves.values())
    assert (result.curves["total"].amin(dim=1) <= result.curves["total"][:, 0]).all()
    assert (result.distance > 0).any(), "fitting moved no code"


@pytest.mark.parametrize("name", SYSTEMS)
def test_is_called_as_its_file_is_in_the_table_and_is_trained_by_make_systems(name):
    assert load_spec(name).name == name
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8")
    assert name in {system.spec for system in load_grid("systems").systems.values()}


@pytest.mark.parametrize("name", [name for name in SYSTEMS if "annealed" in name])
@pytest.mark.parametrize("preset", PRESETS)
def test_an_annealed_weight_reaches_its_end_half_way(name, preset):
    (stage,) = load_spec(name, [f"preset={preset}"]).training.stages
    (weight,) = (part.config.weight for part in stage.objectives if part.name == "divergence")
    assert isinstance(weight, Ramp)
    assert weight.steps == stage.steps / 2
    assert weight.at(stage.steps) == 1


@pytest.mark.parametrize(
    ("overrides", "weight"),
    [((), 5e-4), (("prior=kl", "flow=null"), 1), (("training.stages.0.objectives.divergence.weight=0.2",), 0.2)],
)
def test_the_divergence_has_the_weight_of_its_prior_unless_told_otherwise(overrides, weight):
    blueprint = plan(load_spec("lip-flow-hmc", ["preset=tiny", *overrides]))
    (divergence,) = (term for term in blueprint.stage_objectives["all"] if term.part.name == "divergence")
    assert divergence.part.config.weight == weight


def test_a_regressor_learns_from_the_codes_of_dam_itself(tmp_path):
    dam, _ = trained("dam", tmp_path)
    regressor, _ = trained("dam-hmc-regressor", tmp_path)
    for part in ("encoder", "decoder"):
        one, other = weights_of(dam.avatar.part(part)), weights_of(regressor.avatar.part(part))
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_list_names_every_system_and_says_what_it_is(capsys):
    assert main(["assemble", "--list"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n{name} " in said for name in SYSTEMS)
    assert "a Gaussian prior driven by headset cameras" in said


def test_no_spec_at_all_is_wrong_use_and_points_to_the_list(capsys):
    assert main(["assemble"]) == 2
    assert "--list" in capsys.readouterr().err
