"""The commands `fit` and `sample` on a trained model."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import lipflow_core
from lipflow_core.cli import main
from lipflow_core.errors import SpecError, StorageError, UsageError
from lipflow_core.fitting import run
from lipflow_core.fitting.model_fit import fit_model
from lipflow_core.plans import CaptureInputs
from lipflow_core.splits import select, spread

OPTIONS = ["fitting.steps=2", "fitting.batch=2"]


def test_fit_writes_codes_curves_and_pictures(trained, tmp_path, capsys):
    out = tmp_path / "fit"
    arguments = ["fit", str(trained["lip-flow-hmc"]), *OPTIONS, "--frames", "0:3", "--out", str(out), "--pictures"]
    assert main(arguments) == 0
    assert "fitted 3 frames" in capsys.readouterr().out
    assert load_file(out / "codes.safetensors")["codes"].shape == (3, 8)
    data = json.loads((out / "fit.json").read_text(encoding="utf-8"))
    assert len(data["frames"]) == 3
    assert len(data["curves"]["total"]["mean"]) == 3
    assert len(list((out / "pictures").glob("*.png"))) == 3


def test_a_fit_that_was_killed_goes_on_with_the_first_batch_not_written(trained, tmp_path, monkeypatch):
    whole = fit_model(trained["dam"], tmp_path / "whole", frames="0:6", overrides=OPTIONS)
    fitted = []
    fit = run.fit

    def killed_at_the_third(avatar, frame, *arguments, **options):
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fitted.append(len(frame))
        return fit(avatar, frame, *arguments, **options)

    monkeypatch.setattr(run, "fit", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        fit_model(trained["dam"], tmp_path / "killed", frames="0:6", overrides=OPTIONS)
    assert not (tmp_path / "killed" / "fit.json").exists()
    fitted.clear()
    again = fit_model(trained["dam"], tmp_path / "killed", frames="0:6", overrides=OPTIONS)
    assert fitted == [2]
    assert again == whole
    first, second = (load_file(tmp_path / name / "codes.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first if "curves" not in name)
    assert not (tmp_path / "killed" / "batches").exists()


def test_a_fit_that_was_killed_at_its_first_file_starts_anew(trained, tmp_path):
    leftover = tmp_path / ".request.json.0123abcd.tmp"
    leftover.write_text("{", encoding="utf-8")
    fit_model(trained["dam"], tmp_path, frames="0", overrides=OPTIONS)
    again = fit_model(trained["dam"], tmp_path, frames="0", overrides=OPTIONS)
    assert len(again["frames"]) == 1
    assert not leftover.exists()


def test_a_fit_that_is_done_is_not_made_again(trained, tmp_path, monkeypatch):
    first = fit_model(trained["dam"], tmp_path, frames="0", overrides=OPTIONS)
    monkeypatch.setattr(run, "fit", None)
    assert fit_model(trained["dam"], tmp_path, frames="0", overrides=OPTIONS) == first


def test_a_folder_of_another_fit_is_refused(trained, tmp_path):
    fit_model(trained["dam"], tmp_path, frames="0", overrides=OPTIONS)
    with pytest.raises(StorageError, match="another model, of other frames or with other options"):
        fit_model(trained["dam"], tmp_path, frames="1", overrides=OPTIONS)


def test_a_folder_with_other_things_is_refused(trained, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(StorageError, match="holds no fit"):
        fit_model(trained["dam"], tmp_path, frames="0", overrides=OPTIONS)


def test_poses_and_grids_are_options_of_the_command(trained, tmp_path):
    overrides = [*OPTIONS, "fitting.pose={}", "fitting.grid={frames: 2}"]
    result = fit_model(trained["lip-flow-hmc"], tmp_path, frames="0:2", overrides=overrides)
    assert result["grid"]["frames"] == 2
    assert load_file(tmp_path / "codes.safetensors")["poses"].shape == (2, 3, 4)


@pytest.fixture(scope="module")
def split(trained):
    _, spec = lipflow_core.open_model(trained["dam"])
    return spec.capture.build(CaptureInputs()).split("held-out")


def test_frames_are_named_by_position_range_segment_and_number(split):
    segment, number = split.segments[1], int(split.numbers[1])
    assert select(split, "2").tolist() == [2]
    assert select(split, "0:4:2,1").tolist() == [0, 2, 1]
    assert select(split, f"{segment}/{number:06d}").tolist() == [1]
    assert select(split, segment).tolist() == [i for i, name in enumerate(split.segments) if name == segment]
    assert select(split, "1,0:2").tolist() == [1, 0]


def test_frames_that_do_not_exist_are_named(split):
    with pytest.raises(UsageError, match=r"no frame 'EXP_none/000001'.*frames of"):
        select(split, "EXP_none/000001")
    with pytest.raises(UsageError, match="no frame '99999'"):
        select(split, "99999")
    with pytest.raises(SpecError, match="no frame is named"):
        select(split, " , ")


def test_spread_frames_run_from_the_first_to_the_last():
    assert spread(3, 11).tolist() == [0, 5, 10]
    assert spread(20, 4).tolist() == [0, 1, 2, 3]
    assert spread(5, 0).tolist() == []


@pytest.mark.parametrize("model", ["dam", "lip-flow-hmc"])
def test_samples_are_drawn_by_seed_and_pictured(model, trained, tmp_path, capsys):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        arguments = ["sample", str(trained[model]), "--count", "5", "--seed", seed, "--out", str(tmp_path / name)]
        assert main(arguments) == 0
    assert "drew 5 faces" in capsys.readouterr().out
    first, same, other = (load_file(tmp_path / name / "codes.safetensors")["codes"] for name in "abc")
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    with Image.open(tmp_path / "a" / "samples.png") as sheet:
        assert sheet.width > sheet.height
