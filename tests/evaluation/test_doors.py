"""What a user names wrongly ends a command with the code of its place and a message that names it, never with 70."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import safetensors.torch
import torch

import lipflow_core
from lipflow_core.cli import main
from lipflow_core.errors import ModelError
from lipflow_core.training import train

LONG = "x" * 300
NUL = "a\0b"
FEW = ("--frames", "0:2", "fitting.steps=1")
NAMES = {
    "fit, a model": (("fit", "{name}", *FEW, "--out", "{out}"), 7),
    "fit, a folder": (("fit", "{model}", *FEW, "--out", "{name}"), 8),
    "evaluate, a model": (("evaluate", "{name}", *FEW, "--out", "{out}"), 7),
    "evaluate, a folder": (("evaluate", "{model}", *FEW, "--out", "{name}"), 8),
    "sample, a model": (("sample", "{name}", "--out", "{out}"), 7),
    "sample, a folder": (("sample", "{model}", "--out", "{name}"), 8),
    "train, a spec": (("train", "{name}", "--out", "{out}"), 3),
    "train, a folder": (("train", "dam", "preset=tiny", "--out", "{name}"), 8),
    "assemble, a spec": (("assemble", "{name}"), 3),
    "assemble, a folder": (("assemble", "dam", "preset=tiny", "--out", "{name}"), 8),
    "report, an evaluation": (("report", "{name}", "--out", "{out}.html"), 2),
    "report, a file": (("report", "{out}", "--out", "{name}.html"), 8),
    "schema, a file": (("schema", "--out", "{name}"), 8),
    "a registry": (("plugins", "list", "--registry", "{name}"), 5),
    "a capture": (("capture", "validate", "{name}"), 6),
}


def filled(arguments, **values):
    return [argument.format(**values) for argument in arguments]


@pytest.mark.parametrize("name", [LONG, NUL, "d/" * 3000], ids=["long", "NUL", "deep"])
@pytest.mark.parametrize("place", NAMES)
def test_a_name_that_no_file_can_have_is_told(place, name, trained, tmp_path, capsys):
    arguments, code = NAMES[place]
    assert main(filled(arguments, name=name, model=trained["dam"], out=tmp_path / "out")) == code
    told = capsys.readouterr().err
    assert ("a\\x00b" if name == NUL else name[:100]) in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", sorted(set(NAMES) - {"report, a file", "schema, a file"}))
def test_a_link_to_itself_is_told(place, trained, tmp_path, capsys):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    arguments, code = NAMES[place]
    assert main(filled(arguments, name=loop, model=trained["dam"], out=tmp_path / "out")) == code
    told = capsys.readouterr().err
    assert str(loop) in told
    assert "Traceback" not in told


OPTIONS = {
    "another texture": ("dam", "capture.texture=64", 4, r"face.texture of shape \(3, 64, 64\), but the model is made"),
    "other headset pictures": ("lip-flow-hmc", "capture.headset.size=[30,20]", 4, "headset.images of shape"),
    "no view": ("dam", "evaluation.view=headsett", 4, "'headsett'.*did you mean 'headset'"),
}


@pytest.mark.parametrize("command", ["fit", "evaluate"])
@pytest.mark.parametrize(("system", "override", "code", "message"), OPTIONS.values(), ids=OPTIONS)
def test_options_that_a_model_is_not_made_for_are_told(
    system, override, code, message, command, trained, tmp_path, capsys
):
    assert main([command, str(trained[system]), override, *FEW, "--out", str(tmp_path / "out")]) == code
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("view", ["headset", "frontal", "dome"])
def test_any_view_can_be_scored_and_pictures_may_have_another_size(view, trained):
    evaluation = lipflow_core.evaluate(
        trained["dam"], count=1, overrides=[f"evaluation.view={view}", "capture.image=[20,20]", "fitting.steps=1"]
    )
    assert evaluation.view == view


@pytest.mark.parametrize("option", ["gain", "offset", "noise", "shift"])
def test_an_augmentation_beyond_reason_is_refused(option, capsys):
    assert main(["assemble", "lip-flow-hmc", "--check", f"driving.augmentation.{option}=1e30"]) == 3
    assert f"driving.augmentation.{option}: should be less than or equal to" in capsys.readouterr().err


def test_codes_that_are_not_finite_before_the_first_step_are_told(tmp_path):
    spec = lipflow_core.load_spec("lip-flow-hmc", ["preset=tiny"])
    avatar = lipflow_core.assemble(spec)
    with torch.no_grad():
        for parameter in avatar.driving.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(lipflow_core.LipflowError, match="before the first step the driving features hold NaN") as error:
        train(spec, tmp_path / "run", avatar=avatar)
    assert error.value.exit_code == 9


def retyped(model, folder, dtype):
    """A copy of a model with weights of another type, and their hash."""
    shutil.copytree(model, folder)
    weights = safetensors.torch.load_file(folder / "weights.safetensors")
    weights = {name: w.to(dtype) if w.is_floating_point() else w for name, w in weights.items()}
    (folder / "weights.safetensors").write_bytes(safetensors.torch.save(weights, {"format": "pt"}))
    lock = json.loads((folder / "lock.json").read_bytes())
    lock["sha256"]["weights.safetensors"] = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    (folder / "lock.json").write_text(json.dumps(lock), encoding="utf-8")
    return folder


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_refused_when_opened(dtype, trained, tmp_path):
    folder = retyped(trained["dam"], tmp_path / "model", dtype)
    with pytest.raises(ModelError, match=f"its weights are of type {dtype}; models run in float32"):
        lipflow_core.open_model(folder)


@pytest.mark.parametrize("command", ["fit", "evaluate", "sample"])
def test_a_model_in_double_precision_runs(command, trained, tmp_path):
    folder = retyped(trained["lip-flow-hmc"], tmp_path / "model", torch.float64)
    options = () if command == "sample" else FEW
    assert main([command, str(folder), *options, "--out", str(tmp_path / "out")]) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may enter every folder")
@pytest.mark.parametrize("command", ["fit", "evaluate", "sample"])
def test_a_models_folder_that_may_not_be_entered_is_told(command, trained, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(trained["dam"], model)
    model.chmod(0)
    try:
        assert main([command, str(model), "--out", str(tmp_path / "out")]) == 7
    finally:
        model.chmod(0o755)
    assert "you may not enter its folder" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
@pytest.mark.parametrize("command", [("--version",), ("assemble", "--list"), ("plugins", "list")], ids=" ".join)
def test_output_onto_a_full_disk_is_told(command):
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "lipflow_core", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 8
    assert "standard output can't be written" in ended.stderr
    assert "Traceback" not in ended.stderr


BOUNDS = {
    "threads": (["train", "dam", "training.threads=100000"], 3, "training.threads: .* 1024, got 100000"),
    "processes": (["train", "dam", "training.devices=100000"], 3, "training.devices: .* 1024, got 100000"),
    "frames of a step": (["train", "dam", "preset=tiny", "training.batch=100000"], 4, "set training.batch to at most"),
    "samples": (["sample", "{model}", "--count", "100000000"], 2, "100000000 samples are too many"),
}


@pytest.mark.parametrize(("arguments", "code", "message"), BOUNDS.values(), ids=BOUNDS)
def test_numbers_beyond_reason_are_refused_before_anything_is_allocated(
    arguments, code, message, trained, tmp_path, capsys
):
    assert main([*filled(arguments, model=trained["dam"]), "--out", str(tmp_path / "out")]) == code
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
