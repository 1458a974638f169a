"""The commands `fit` and `sample` on a trained model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import lipflow_core
from lipflow_core.claiming import claimed
from lipflow_core.cli import main
from lipflow_core.errors import CaptureError, ResultError, SpecError, StorageError, UsageError
from lipflow_core.fitting.model_fit import fit_model
from lipflow_core.plans import CaptureInputs
from lipflow_core.selection import file_stem, positions, spread

OPTIONS = ["fitting.steps=2", "fitting.batch=2"]


@pytest.mark.parametrize("relative", [False, True])
def test_fit_writes_codes_curves_and_pictures(relative, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = Path("runs/fit") if relative else tmp_path / "fit"
    arguments = ["fit", str(trained["lip-flow-hmc"]), *OPTIONS, "--frames", "0:3", "--out", str(out), "--pictures"]
    assert main(arguments) == 0
    assert "fitted 3 frames" in capsys.readouterr().out
    assert load_file(out / "codes.safetensors")["codes"].shape == (3, 8)
    data = json.loads((out / "fit.json").read_text(encoding="utf-8"))
    assert len(data["frames"]) == 3
    assert len(data["curves"]["total"]["mean"]) == 3
    assert len(list((out / "pictures").glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("temporal", "batches"), [("null", ["[0, 1]", "[2, 3]", "[4, 5]"]), ("random-walk", ["[0, 1, 2]", "[3, 4, 5]"])]
)
def test_a_fit_that_was_interrupted_goes_on_with_the_first_batch_not_written(
    temporal, batches, spoiled, trained, tmp_path
):
    stop, diary = tmp_path / "stop", tmp_path / "diary"
    capture = f"capture={{type: spoiled, stop: '{stop}', diary: '{diary}'}}"
    options = [*OPTIONS, f"fitting.temporal={temporal}", capture]
    whole = fit_model(trained["lip-flow-hmc"], tmp_path / "whole", overrides=options)
    assert diary.read_text(encoding="utf-8").splitlines() == batches
    stop.touch()
    with pytest.raises(KeyboardInterrupt):
        fit_model(trained["lip-flow-hmc"], tmp_path / "killed", overrides=options)
    assert not (tmp_path / "killed" / "fit.json").exists()
    stop.unlink()
    diary.unlink()
    again = fit_model(trained["lip-flow-hmc"], tmp_path / "killed", overrides=options)
    assert diary.read_text(encoding="utf-8").splitlines() == batches[-1:]
    assert again.frames == whole.frames
    first, second = (load_file(tmp_path / name / "codes.safetensors") for name in ("whole", "killed"))
    assert list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)
    assert not (tmp_path / "killed" / "batches").exists()


def test_runs_are_put_back_into_the_order_of_the_frames(trained, tmp_path):
    options = ["fitting.steps=2", "fitting.temporal=random-walk"]
    for name, frames in {"sorted": "0:6", "shuffled": "4,0,3,2,1,5"}.items():
        fit_model(trained["dam"], tmp_path / name, frames=frames, overrides=options)
    codes = {name: load_file(tmp_path / name / "codes.safetensors")["codes"] for name in ("sorted", "shuffled")}
    torch.testing.assert_close(codes["sorted"][[4, 0, 3, 2, 1, 5]], codes["shuffled"])


def test_a_temporal_prior_that_changed_nothing_is_noted(trained, tmp_path):
    options = ["fitting.steps=1", "fitting.temporal=random-walk"]
    found = {}
    for frames in ("0,2", "0,1"):
        found[frames] = fit_model(trained["dam"], tmp_path / frames, frames=frames, overrides=options).notes()
    assert ["fitting.temporal changed nothing" in " ".join(notes) for notes in found.values()] == [True, False]


def test_runs_that_stay_at_their_start_are_noted(trained, tmp_path):
    options = ["fitting.steps=3", "fitting.optimizer.learning_rate=0.01", "fitting.start=zero"]
    found = {}
    for weight in (1e9, 1e-9):
        walk = f"fitting.temporal={{type: random-walk, weight: {weight}}}"
        found[weight] = fit_model(trained["dam"], tmp_path / str(weight), frames="0:3", overrides=[*options, walk])
    assert ["3 frames stayed at their start" in " ".join(fit.notes()) for fit in found.values()] == [True, False]


def test_fit_json_is_the_same_after_a_resumption_to_the_byte(spoiled, trained, tmp_path):
    stop = tmp_path / "stop"
    options = [*OPTIONS, f"capture={{type: spoiled, stop: '{stop}'}}"]
    fit_model(trained["dam"], tmp_path / "whole", overrides=options)
    stop.touch()
    with pytest.raises(KeyboardInterrupt):
        fit_model(trained["dam"], tmp_path / "killed", overrides=options)
    stop.unlink()
    fit_model(trained["dam"], tmp_path / "killed", overrides=options)
    assert (tmp_path / "killed" / "fit.json").read_bytes() == (tmp_path / "whole" / "fit.json").read_bytes()


def test_a_fit_that_was_killed_at_its_first_file_starts_anew(trained, tmp_path):
    leftover = tmp_path / ".request.json.0123abcd.tmp"
    leftover.write_text("{", encoding="utf-8")
    fit_model(trained["dam"], tmp_path, frames="0", overrides=OPTIONS)
    again = fit_model(trained["dam"], tmp_path, frames="0", overrides=OPTIONS)
    assert len(again.frames) == 1
    assert not leftover.exists()


def test_a_fit_that_is_done_is_not_made_again(spoiled, trained, tmp_path):
    diary = tmp_path / "diary"
    options = [*OPTIONS, f"capture={{type: spoiled, diary: '{diary}'}}"]
    first = fit_model(trained["dam"], tmp_path / "fit", frames="0", overrides=options)
    diary.unlink()
    assert fit_model(trained["dam"], tmp_path / "fit", frames="0", overrides=options) == first
    assert not diary.exists()


def test_a_batch_that_is_damaged_is_fitted_again(spoiled, trained, tmp_path):
    stop = tmp_path / "stop"
    options = [*OPTIONS, f"capture={{type: spoiled, stop: '{stop}'}}"]
    whole = fit_model(trained["dam"], tmp_path / "whole", overrides=options)
    stop.touch()
    with pytest.raises(KeyboardInterrupt):
        fit_model(trained["dam"], tmp_path / "fit", overrides=options)
    stop.unlink()
    batches = tmp_path / "fit" / "batches"
    (batches / "000000.safetensors").write_bytes(b"cut")
    save_file({"codes": torch.zeros(2, 3)}, batches / "000001.safetensors")
    assert fit_model(trained["dam"], tmp_path / "fit", overrides=options).frames == whole.frames


def test_a_fit_that_fails_leaves_nothing_and_other_options_may_take_its_folder(spoiled, trained, tmp_path):
    out = tmp_path / "fit"
    with pytest.raises(CaptureError):
        fit_model(
            trained["dam"], out, overrides=[*OPTIONS, "fitting.batch=16", "capture={type: spoiled, nan: headset}"]
        )
    assert not out.exists()
    assert len(fit_model(trained["dam"], out, frames="0", overrides=OPTIONS).frames) == 1


def test_a_folder_that_another_process_fits_into_is_refused(trained, tmp_path):
    with claimed(tmp_path, "fitting"), pytest.raises(StorageError, match="another process is fitting there"):
        fit_model(trained["dam"], tmp_path, frames="0", overrides=OPTIONS)


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"name": 3}', "[" * 100_000, "\xff"])
@pytest.mark.parametrize("file", ["fit.json", "grid.json", "request.json"])
def test_damaged_files_of_a_fit_are_named(file, damage, trained, tmp_path, capsys):
    options = [*OPTIONS, "fitting.grid={frames: 1, learning_rate: [0.1], latent_weight: [0.1]}"]
    fit_model(trained["dam"], tmp_path, frames="0", overrides=options)
    if file == "grid.json":
        (tmp_path / "fit.json").unlink()
    (tmp_path / file).write_bytes(damage.encode("latin-1"))
    arguments = ["fit", str(trained["dam"]), *options, "--frames", "0", "--out", str(tmp_path)]
    code = main(arguments)
    message = capsys.readouterr().err
    if file == "request.json" and damage in ("[]", "null", '{"name": 3}'):
        assert code == StorageError.exit_code and "holds a fit of another model" in message
    else:
        assert code == ResultError.exit_code and f"{file}: is damaged" in message


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
    assert result.grid.frames == 2
    assert load_file(tmp_path / "codes.safetensors")["poses"].shape == (2, 3, 4)


@pytest.fixture(scope="module")
def split(trained):
    _, spec = lipflow_core.open_model(trained["dam"])
    return spec.capture.build(CaptureInputs()).split("held-out")


def named(split, text):
    return positions(split.segments, split.numbers, text)


def test_frames_are_named_by_position_range_segment_and_number(split):
    segment, number = split.segments[1], int(split.numbers[1])
    assert named(split, "2").tolist() == [2]
    assert named(split, "0:4:2,1").tolist() == [0, 2, 1]
    assert named(split, f"{segment}/{number:06d}").tolist() == [1]
    assert named(split, segment).tolist() == [i for i, name in enumerate(split.segments) if name == segment]
    assert named(split, "1,0:2").tolist() == [1, 0]


def test_frames_that_do_not_exist_are_named(split):
    with pytest.raises(UsageError, match=r"no frame 'EXP_none/000001'.*frames of"):
        named(split, "EXP_none/000001")
    with pytest.raises(UsageError, match="no frame '99999'"):
        named(split, "99999")
    with pytest.raises(SpecError, match="no frame is named"):
        named(split, " , ")


def test_spread_frames_run_from_the_first_to_the_last():
    assert spread(3, 11).tolist() == [0, 5, 10]
    assert spread(20, 4).tolist() == [0, 1, 2, 3]
    assert spread(5, 0).tolist() == []


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_a_seed_out_of_range_is_told(seed, trained, tmp_path, capsys):
    arguments = ["sample", str(trained["dam"]), f"--seed={seed}", "--out", str(tmp_path / "out")]
    assert main(arguments) == UsageError.exit_code
    assert f"the seed {seed} is out of range" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["dam", "lip-flow-hmc"])
def test_samples_are_drawn_by_seed_and_pictured(model, trained, tmp_path, capsys):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        arguments = ["sample", str(trained[model]), "--count", "5", "--seed", seed, "--out", str(tmp_path / name)]
        assert main(arguments) == 0
    assert "drew 5 samples" in capsys.readouterr().out
    first, same, other = (load_file(tmp_path / name / "codes.safetensors")["codes"] for name in "abc")
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    with Image.open(tmp_path / "a" / "samples.png") as sheet:
        assert sheet.width > sheet.height


def test_segments_that_differ_in_letters_beyond_ascii_have_files_of_their_own():
    names = {file_stem(segment, 7) for segment in ("EXP_é", "EXP_è", "EXP__", "EXP ", "EXP/")}
    assert len(names) == 5
    assert all(name.isascii() and name.endswith("-000007") for name in names)
    assert file_stem("EXP_smile", 12) == "EXP_smile-000012"
