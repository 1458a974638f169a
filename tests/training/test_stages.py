"""Stages: what learns, what stays, how a stage ends and what it leaves."""

import pytest
import torch
from runs import REGISTRY, dam_regressor, make_spec, parameters, rows, same, weights

from lipflow_core.assembly import assemble
from lipflow_core.errors import Interrupted, ModelError, SpecError
from lipflow_core.model_directory import open_model
from lipflow_core.training import train
from lipflow_core.weights import weights_of

LONGER = ("training.stages.0.steps=40", "training.stages.0.learning_rate=5e-3", "training.evaluate_every=20")


@pytest.mark.parametrize("name", ["dam", "lip-flow-hmc", "lip-flow-keypoint"])
def test_the_loss_falls(name, tmp_path):
    train(make_spec(name, *LONGER, "training.patience=1000"), tmp_path / "run")
    logged = rows(tmp_path / "run")
    assert [row["step"] for row in logged] == list(range(1, 41))
    first, last = (sum(row["loss"] for row in part) for part in (logged[:5], logged[-5:]))
    assert last < 0.7 * first
    held_out = [row["loss"] for row in rows(tmp_path / "run", "held-out")]
    assert held_out[-1] < held_out[0]


def test_the_run_is_a_model_directory(finished_run):
    avatar, spec = open_model(finished_run.path)
    assert spec.name == "dam"
    assert same(weights_of(avatar), weights_of(finished_run.avatar))
    assert not finished_run.avatar.training
    assert len(str(finished_run)) < 500
    assert {"spec.yaml", "weights.safetensors", "lock.json", "metrics.jsonl", "result.json", "checkpoints"} <= {
        path.name for path in finished_run.path.iterdir()
    }


def test_two_runs_are_equal_bit_for_bit_whatever_loads_their_batches(tmp_path):
    for workers in (0, 1, 3):
        train(make_spec("lip-flow-hmc", f"training.workers={workers}"), tmp_path / str(workers))
    assert same(weights(tmp_path / "0"), weights(tmp_path / "1"))
    assert same(weights(tmp_path / "0"), weights(tmp_path / "3"))


def test_the_seed_changes_the_run(tmp_path, finished_run):
    train(make_spec("dam", "seed=1"), tmp_path / "run")
    assert not same(weights(tmp_path / "run"), weights(finished_run.path))


def test_a_regressor_learns_against_a_frozen_dam(tmp_path):
    spec = make_spec(dam_regressor())
    seen = []

    def look() -> bool:
        seen.append({name: parameters(avatar.part(name)) for name in ("encoder", "decoder", "driving")})
        return False

    avatar = assemble(spec)
    result = train(spec, tmp_path / "run", avatar=avatar, stop=look)
    assert [stage.name for stage in result.stages] == ["dam", "regressor"]
    first, second = seen[:8], seen[8:]
    assert all(same(state["driving"], first[0]["driving"]) for state in first)
    assert not same(first[0]["encoder"], first[-1]["encoder"])
    for name in ("encoder", "decoder"):
        assert all(same(state[name], second[0][name]) for state in second)
    assert not same(second[0]["driving"], second[-1]["driving"])
    logged = rows(tmp_path / "run")
    assert {"photometric", "geometry", "divergence"} <= logged[0].keys()
    assert "photometric" not in logged[-1] and "geometry" not in logged[-1]


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory, globe_registry):
    """A finished run of the first stage of `dam_regressor` alone, by a spec without the driving encoder."""
    content = dam_regressor()
    alone = {**content, "driving": None, "prior": "standard-normal"}
    alone["training"] = {"stages": [{"name": "dam", "train": ["encoder", "decoder"]}]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(REGISTRY, str(globe_registry))
        return train(make_spec(alone), tmp_path_factory.mktemp("first") / "run").path


def test_a_training_goes_on_from_the_first_stages_of_another_run_bit_for_bit(tmp_path, first_stage):
    whole = train(make_spec(dam_regressor()), tmp_path / "whole")
    second = train(make_spec(dam_regressor()), tmp_path / "second", after=first_stage)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "second"))
    assert second.summary.stages == whole.summary.stages


def test_a_training_after_another_run_resumes(tmp_path, first_stage):
    asked = iter([False, True])
    with pytest.raises(Interrupted):
        train(make_spec(dam_regressor()), tmp_path / "run", after=first_stage, stop=lambda: next(asked))
    train(make_spec(dam_regressor()), tmp_path / "run", after=first_stage, resume=True)
    train(make_spec(dam_regressor()), tmp_path / "whole")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_a_training_is_not_resumed_after_another_run_than_at_its_start(tmp_path, first_stage):
    train(make_spec(dam_regressor()), tmp_path / "run")
    with pytest.raises(ModelError, match="after was null"):
        train(make_spec(dam_regressor()), tmp_path / "run", after=first_stage, resume=True)


def test_a_run_of_other_stages_is_no_beginning(tmp_path, first_stage, finished_run):
    with pytest.raises(ModelError, match="its stages are all, which are not the first ones of dam, regressor"):
        train(make_spec(dam_regressor()), tmp_path / "run", after=finished_run.path)
    with pytest.raises(ModelError, match="its stages are dam, which are not the first ones of dam"):
        train(
            make_spec({**dam_regressor(), "training": {"stages": [dam_regressor()["training"]["stages"][0]]}}),
            tmp_path / "run",
            after=first_stage,
        )


def test_a_stage_runs_only_what_it_needs(tmp_path):
    spec = make_spec(dam_regressor())
    avatar = assemble(spec)
    calls = []
    for name in ("encoder", "driving", "decoder", "renderer"):
        avatar.part(name).register_forward_hook(lambda *_, name=name: calls.append((phase[0], name)))
    phase = ["dam"]

    def look() -> bool:
        phase[0] = "dam" if sum(rows_seen) < 7 else "regressor"
        rows_seen.append(1)
        return False

    rows_seen = []
    train(spec, tmp_path / "run", avatar=avatar, stop=look)
    assert {name for at, name in calls if at == "dam"} == {"encoder", "decoder", "renderer"}
    assert {name for at, name in calls if at == "regressor"} == {"encoder", "driving"}


def test_geometry_alone_draws_nothing(tmp_path):
    spec = make_spec("dam", "training.stages.0.objectives.photometric.weight=0")
    avatar = assemble(spec)
    calls = []
    avatar.renderer.register_forward_hook(lambda *_: calls.append("renderer"))
    train(spec, tmp_path / "run", avatar=avatar)
    assert not calls
    assert rows(tmp_path / "run")[0].keys() >= {"geometry", "divergence"}


def test_frozen_batch_norm_keeps_its_statistics(tmp_path):
    spec = make_spec(
        "lip-flow-keypoint",
        "training.stages.0.train=[encoder,decoder]",
        "training.stages.0.objectives.divergence.weight=0",
    )
    avatar = assemble(spec)
    before = parameters(avatar.driving)
    train(spec, tmp_path / "run", avatar=avatar)
    assert any("running_mean" in name for name in before)
    assert same(before, parameters(avatar.driving))


def test_one_encoder_in_two_slots_trains_once(tmp_path):
    data = {
        "name": "encoder-only",
        "capture": "globe",
        "encoder": {"same_as": "driving"},
        "driving": "hmc",
        "decoder": "dam",
        "prior": "standard-normal",
        "fitting": {"prior": "kl", "objectives": [{"type": "photometric", "target": "headset"}]},
    }
    result = train(make_spec(data), tmp_path / "run")
    assert result.avatar.encoder is result.avatar.driving
    assert not any(name.startswith("driving.") for name in weights(tmp_path / "run"))


def test_patience_ends_a_stage_and_the_best_weights_are_kept(tmp_path):
    # A learning rate this high soon makes things worse.
    options = ("training.stages.0.steps=400", "training.stages.0.learning_rate=0.05", "training.evaluate_every=2")
    result = train(make_spec("dam", *options, "training.patience=10"), tmp_path / "run")
    (stage,) = result.stages
    held_out = {row["step"]: row["loss"] for row in rows(tmp_path / "run", "held-out")}
    assert stage.stopped_early
    assert stage.steps == stage.best_step + 10
    assert stage.held_out == held_out[stage.best_step] == min(held_out.values())


def test_patience_asks_for_a_second_look(tmp_path):
    options = ("training.stages.0.steps=14", "training.evaluate_every=6", "training.patience=2")
    result = train(make_spec("dam", *options, "training.stages.0.learning_rate=0.05"), tmp_path / "run")
    evaluated = [row["step"] for row in rows(tmp_path / "run", "held-out")]
    assert len(evaluated) >= 2
    assert result.stages[0].steps == evaluated[-1]


def test_the_learning_rate_decays_and_a_weight_ramps(tmp_path):
    options = (
        "training.stages.0.steps=10",
        "training.stages.0.learning_rate_decay=0.2",
        "training.stages.0.objectives.divergence.weight={start: 0, end: 1, steps: 5}",
    )
    train(make_spec("dam", *options), tmp_path / "run")
    logged = rows(tmp_path / "run")
    assert [round(row["learning_rate"], 6) for row in logged] == [2e-3] * 7 + [4e-4] * 3
    assert [round(row["weight_divergence"], 6) for row in logged] == [0, 0.2, 0.4, 0.6, 0.8] + [1.0] * 5


def test_a_stage_without_anything_to_learn_is_refused(tmp_path):
    spec = make_spec("dam", "training.stages.0.train=[prior]")
    with pytest.raises(SpecError, match="no parameters in this spec"):
        train(spec, tmp_path / "run")
    spec = make_spec("dam", "training.stages.0.objectives=[{type: divergence, weight: 0}]")
    with pytest.raises(SpecError, match="nothing to learn"):
        train(spec, tmp_path / "run")


def test_the_callers_generator_and_threads_are_left_alone(tmp_path):
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train(make_spec("dam", "training.threads=2", "training.stages.0.objectives.photometric.weight=0"), tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_other_precisions_train_and_leave_float32(precision, tmp_path):
    result = train(make_spec("lip-flow-hmc", f"training.precision={precision}"), tmp_path / "run")
    assert {tensor.dtype for tensor in result.avatar.parameters()} == {torch.float32}
    assert torch.get_default_dtype() == torch.float32
