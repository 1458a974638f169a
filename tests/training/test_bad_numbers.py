"""NaN in a capture and losses that stay NaN end with one clear message; single bad steps are skipped and counted."""

import pytest
import torch
from runs import Notes, make_spec, rows

from lipflow_core.assembly import assemble
from lipflow_core.cli import main
from lipflow_core.errors import CaptureError, NumericalError
from lipflow_core.plans import CaptureInputs
from lipflow_core.training import train
from lipflow_core.training.randomness import Sampler
from lipflow_core.training.runaway import signs


def test_nan_in_a_picture_names_segment_and_frame(tmp_path):
    with pytest.raises(
        CaptureError, match=r"segment EXP_free_1, frame 5: Views.images of observation 'headset' holds NaN"
    ):
        train(make_spec("lip-flow-hmc", "capture.broken=5"), tmp_path / "run")


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_a_split_without_frames_is_told_and_nothing_is_left(split, tmp_path):
    with pytest.raises(CaptureError, match=f"split '{split}' of the capture has no frames"):
        train(make_spec("dam", f"capture.empty={split}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_after_a_failure_the_next_run_starts_in_the_same_folder(tmp_path):
    options = ("training.batch=2", "training.checkpoint_every=100", "training.workers=0")
    broken = make_spec("lip-flow-hmc", "capture.broken=5", *options)
    with pytest.raises(CaptureError):
        train(broken, tmp_path)
    assert not tmp_path.exists()
    train(make_spec("lip-flow-hmc", *options), tmp_path)


def test_a_failure_leaves_the_checkpoints_before_it(tmp_path):
    options = ("training.batch=2", "training.checkpoint_every=2", "training.workers=0")
    spec = make_spec("lip-kl-hmc", *options)
    frames = len(spec.capture.build(CaptureInputs()).split("train"))
    drawn = Sampler(seed=spec.seed, stage=0, frames=frames, cameras=1, views=0, batch=2).draw(step=4)
    with pytest.raises(CaptureError):
        train(make_spec("lip-kl-hmc", *options, f"capture.broken={drawn.indices[0]}"), tmp_path / "run")
    steps = (tmp_path / "run" / "checkpoints").glob("step-*")
    assert sorted(path.stem for path in steps) == ["step-00000002", "step-00000004"]


def test_a_step_without_finite_gradient_is_skipped_and_counted(tmp_path):
    spec = make_spec("dam")
    avatar = assemble(spec)
    steps = []

    def poison(gradient):
        steps.append(1)
        return gradient * float("nan") if len(steps) == 3 else gradient

    def watch(decoder, inputs, face):
        if face.vertices.requires_grad:
            face.vertices.register_hook(poison)

    avatar.decoder.register_forward_hook(watch)
    result = train(spec, tmp_path / "run", avatar=avatar)
    assert result.stages[0].skipped == 1
    assert all(torch.isfinite(parameter).all() for parameter in result.avatar.parameters())
    logged = rows(tmp_path / "run")
    assert [row["skipped"] for row in logged] == [0, 0, 1, 1, 1, 1, 1, 1]
    assert logged[2]["gradient_norm"] is None


def test_a_loss_that_stays_nan_names_the_term_and_the_step(tmp_path):
    spec = make_spec("dam", "training.stages.0.steps=60", "training.stages.0.learning_rate=1e30")
    with pytest.raises(NumericalError, match=r"training step 30: the term '\w+' is (nan|inf)"):
        train(spec, tmp_path / "run")


def test_a_held_out_loss_that_is_never_finite_is_an_error(tmp_path):
    with pytest.raises(NumericalError, match="never finite"):
        train(make_spec("dam", "training.stages.0.learning_rate=1e30"), tmp_path / "run")


def test_a_log_std_out_of_bounds_is_told_once_logged_and_part_of_the_result(tmp_path):
    spec = make_spec("lip-kl-keypoint")
    avatar = assemble(spec)
    with torch.no_grad():
        avatar.driving.log_std_head.bias.sub_(9)
    notes = Notes()
    result = train(spec, tmp_path / "run", avatar=avatar, progress=notes)
    (warning,) = rows(tmp_path / "run", "warning")
    assert warning["name"] == "log_std_driving"
    assert warning["value"] > 8
    (told,) = notes.lines
    assert "the driving encoder predicts log σ" in told
    assert result.stages[0].warnings == (told.removeprefix("warning: "),)
    assert all(row["log_std_driving"] > 8 > row["log_std_encoder"] for row in rows(tmp_path / "run"))


def test_a_term_that_jumps_is_told(tmp_path):
    spec = make_spec("dam", "training.workers=0")
    avatar = assemble(spec)
    calls = []

    def throw(decoder, inputs, face):
        if decoder.training:
            calls.append(1)
            face.vertices.mul_(1000.0 if len(calls) == 4 else 1.0)

    avatar.decoder.register_forward_hook(throw)
    train(spec, tmp_path / "run", avatar=avatar)
    assert "geometry" in {row["name"] for row in rows(tmp_path / "run", "warning")}


def test_a_posterior_that_is_all_but_a_point_is_no_sign(tmp_path):
    spec = make_spec("lip-kl-keypoint")
    avatar = assemble(spec)
    with torch.no_grad():
        avatar.encoder.log_std_head.bias.sub_(900)
    train(spec, tmp_path / "run", avatar=avatar)
    assert all(row["log_std_encoder"] < -8 for row in rows(tmp_path / "run"))
    assert "log_std_encoder" not in {row["name"] for row in rows(tmp_path / "run", "warning")}


@pytest.mark.parametrize(
    ("peaks", "usual", "names"),
    [
        ({"latent": 9.0, "log_std_driving": 8.0}, {"latent": 0.01}, []),
        ({"latent": 11.0, "log_std_driving": 8.1}, {"latent": 0.01}, ["latent", "log_std_driving"]),
        ({"latent": 1e9}, {}, []),
        ({"geometry": 99.0}, {"geometry": 1.0}, []),
        ({"geometry": 101.0}, {"geometry": 1.0}, ["geometry"]),
    ],
)
def test_signs_of_a_run_away(peaks, usual, names):
    assert [sign.name for sign in signs(peaks, usual)] == names


def test_vertices_that_are_not_finite_are_no_loss_of_a_stage_with_pictures_alone(tmp_path):
    """A renderer draws nothing where vertices are NaN, which costs less than a picture of an untrained model."""
    spec = make_spec(
        "dam", "training.stages.0.objectives=[{type: photometric, weight: 10}]", "training.stages.0.steps=40"
    )
    avatar = assemble(spec)

    def spoil(decoder, inputs, face):
        face.vertices.detach().fill_(torch.nan)

    avatar.decoder.register_forward_hook(spoil)
    with pytest.raises(NumericalError, match="held-out loss was never finite"):
        train(spec, tmp_path / "run", avatar=avatar)


def test_a_training_whose_every_step_was_skipped_is_an_error(tmp_path):
    spec = make_spec("dam")
    avatar = assemble(spec)

    def spoil(decoder, inputs, face):
        if face.vertices.requires_grad:
            face.vertices.register_hook(lambda gradient: gradient * torch.nan)

    avatar.decoder.register_forward_hook(spoil)
    with pytest.raises(NumericalError, match="stage 'all': every one of its 8 steps was skipped"):
        train(spec, tmp_path / "run", avatar=avatar)
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_training_without_a_finite_loss_ends_with_its_code(tmp_path, capsys):
    arguments = ["train", "dam", "preset=tiny", "capture=globe", "training.stages.0.learning_rate=1e30"]
    assert main([*arguments, "--quiet", "--out", str(tmp_path / "run")]) == NumericalError.exit_code
    assert "never finite" in capsys.readouterr().err
    assert not (tmp_path / "run" / "result.json").exists()
