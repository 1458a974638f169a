"""Models that make NaN: the part is named, single frames have no score, and nothing is written of a model of NaN."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch

import lipflow_core
from lipflow_core.cli import main
from lipflow_core.errors import NumericalError, ResultError
from lipflow_core.plans import CaptureInputs
from lipflow_core.splits import load_frames

OPTIONS = ["fitting.steps=1"]
PARTS = {
    "encoder": "Q's code, no frame could be scored: the code of",
    "driving": "before fitting, no frame could be scored: the code of",
    "fitting_prior": "before fitting, no frame could be scored: the code of",
    "decoder": "Q's code, no frame could be scored: the decoded vertices of",
}


@pytest.mark.parametrize("part", PARTS)
def test_an_evaluation_names_the_part_and_writes_nothing(part, broken, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["evaluate", str(broken("lip-flow-hmc", part)), *OPTIONS, "--count", "2", "--quiet", "--out", str(out)]
    assert main(arguments) == NumericalError.exit_code
    assert f"lip-flow-hmc: {PARTS[part]} segment EXP_free_face_0000, frame 0 holds NaN" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("part", "told"),
    [("driving", "driving encoding"), ("fitting_prior", "first code"), ("decoder", "decoded vertices")],
)
def test_a_fit_names_the_part_and_writes_nothing(part, told, broken, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["fit", str(broken("lip-flow-hmc", part)), *OPTIONS, "--pictures", "--quiet", "--out", str(out)]
    assert main(arguments) == NumericalError.exit_code
    message = capsys.readouterr().err
    assert (
        f"no frame could be fitted: before the first step the {told} of segment EXP_free_face_0000, frame 0" in message
    )
    assert not out.exists()


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("driving", "the driving encoding of segment EXP_free_face_0000, frame 0 holds NaN"),
        ("fitting_prior", "the code of sample 0 holds NaN"),
        ("decoder", "the decoded vertices of sample 0 holds NaN"),
    ],
)
def test_samples_name_the_part_and_are_not_written(part, told, broken, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["sample", str(broken("lip-flow-hmc", part)), "--out", str(out)]) == NumericalError.exit_code
    assert told in capsys.readouterr().err
    assert not out.exists()


def fails_at(avatar, frame_code):
    """Make the decoder give one NaN vertex for codes on one side of a plane."""

    def spoil(module, given, made):
        bad = given[0][:, 0] > frame_code
        vertices = made.vertices.clone()
        vertices[bad, 7, 1] = torch.nan
        return type(made)(vertices, made.texture)

    return avatar.decoder.register_forward_hook(spoil)


def test_single_frames_that_a_model_fails_on_are_null_counted_and_named(trained, tmp_path):
    opened = lipflow_core.open_model(trained["dam"])
    sound = lipflow_core.evaluate(opened, overrides=OPTIONS)
    split = opened.spec.capture.build(CaptureInputs()).split("held-out")
    frame = load_frames(split, [0, 2, 3, 5], ["face"])
    with torch.no_grad():
        first = opened.avatar.encode(frame).mean[:, 0].sort().values
    hook = fails_at(opened.avatar, float(first[2:].mean()))
    try:
        evaluation = lipflow_core.evaluate(opened, overrides=OPTIONS, out=tmp_path)
    finally:
        hook.remove()
    model = evaluation.models[0]
    (failure,) = model.failures["posterior"]
    place = model.frames.index((failure.segment, failure.number))
    assert failure.part == "decoded vertices"
    assert all(math.isnan(values[place]) for values in model.scores["posterior"].values())
    left = [value for i, value in enumerate(sound.models[0].scores["posterior"]["psnr"]) if i != place]
    assert model.mean("posterior", "psnr") == pytest.approx(sum(left) / 3, abs=1e-4)
    assert (
        json.loads((tmp_path / "evaluation.json").read_text())["models"][0]["scores"]["posterior"]["psnr"][place]
        is None
    )
    told = "dam, Q's code: 1 frame could not be scored because the model made NaN or infinity (the first is EXP"
    assert any(note.startswith(told) for note in model.notes())


@pytest.mark.parametrize("damage", ["{", "[]", '{"name": "dam"}', "[" * 100_000])
def test_a_damaged_result_of_a_training_run_is_named(damage, trained, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained["dam"], run)
    (run / "result.json").write_text(damage, encoding="utf-8")
    assert main(["train", "dam", "preset=tiny", "--out", str(run), "--resume", "--quiet"]) == ResultError.exit_code
    message = capsys.readouterr().err
    assert "result.json: is damaged" in message and "train again with --resume" in message
    (run / "result.json").unlink()
    assert main(["train", "dam", "preset=tiny", "--out", str(run), "--resume", "--quiet"]) == 0
    assert (run / "result.json").read_bytes() == (trained["dam"] / "result.json").read_bytes()
