"""Model directories: whole or not there, opened without their capture, and what is wrong with one is told."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings

import pytest
import safetensors.torch
import torch

from lipflow_core.assembly import blank_template, build
from lipflow_core.cli import main
from lipflow_core.errors import ModelError, PluginError, SpecError, StorageError
from lipflow_core.model_directory import ModelWarning, open_model, save_model
from lipflow_core.planning import plan
from lipflow_core.registry import default_registry
from lipflow_core.specs import dump_spec, load_spec
from lipflow_core.weights import weights_of


def built(name, *overrides):
    spec = load_spec(name, ["preset=tiny", *overrides])
    blueprint = plan(spec)
    return build(blueprint, blank_template(blueprint)), spec


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    save_model(*built("lip-flow-hmc"), folder)
    return folder


@pytest.fixture
def model(original, tmp_path):
    return shutil.copytree(original, tmp_path / "model")


def relock(model):
    """Make the lock agree with the files, as a careless editor might."""
    lock = json.loads((model / "lock.json").read_text())
    lock["sha256"] = {n: hashlib.sha256((model / n).read_bytes()).hexdigest() for n in lock["sha256"]}
    (model / "lock.json").write_text(json.dumps(lock))


def test_a_model_opens_as_it_was_saved(tmp_path):
    avatar, spec = built("lip-flow-hmc")
    save_model(avatar, spec, tmp_path / "model")
    opened, opened_spec = open_model(tmp_path / "model")
    assert opened_spec == spec
    assert not opened.training
    saved, read = avatar.state_dict(), opened.state_dict()
    assert saved.keys() == read.keys()
    assert all(torch.equal(saved[name], read[name]) for name in saved)


def test_a_directory_holds_three_files(model):
    assert sorted(os.listdir(model)) == ["lock.json", "spec.yaml", "weights.safetensors"]
    lock = json.loads((model / "lock.json").read_text())
    assert lock["plugin_api"] == [1, 0]
    assert {part["name"] for part in lock["parts"]} >= {"dam", "hmc", "flow", "glow", "additive", "cpu", "photometric"}


def test_shared_parts_are_stored_once(tmp_path):
    overrides = ["driving=hmc", "encoder={same_as: driving}", "fitting.prior=kl", "training.stages=[{prior: kl}]"]
    avatar, spec = built("dam", *overrides)
    save_model(avatar, spec, tmp_path / "model")
    stored = safetensors.torch.load_file(tmp_path / "model" / "weights.safetensors")
    assert not [name for name in stored if name.startswith("driving.")]
    opened, _ = open_model(tmp_path / "model")
    assert opened.encoder is opened.driving
    assert weights_of(opened).keys() == stored.keys()


def test_a_model_opens_without_its_capture(model):
    spec = (model / "spec.yaml").read_text()
    assert open_model(model).avatar.capture.outputs == plan(load_spec(model / "spec.yaml")).shapes
    assert "subject" in spec


def test_an_opened_model_can_be_saved_again(model, tmp_path):
    avatar, spec = open_model(model)
    save_model(avatar, spec, tmp_path / "again")
    for name in ("spec.yaml", "weights.safetensors", "lock.json"):
        assert (tmp_path / "again" / name).read_bytes() == (model / name).read_bytes()


def test_a_model_is_saved_beside_other_files_without_touching_them(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("kept")
    for seed in ("seed=0", "seed=1"):
        save_model(*built("dam", seed), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["lock.json", "metrics.jsonl", "spec.yaml", "weights.safetensors"]
    assert open_model(tmp_path).spec.seed == 1


def test_the_model_of_a_training_run_is_not_overwritten(tmp_path):
    save_model(*built("dam"), tmp_path)
    (tmp_path / "run.json").write_text("{}")
    before = (tmp_path / "weights.safetensors").read_bytes()
    with pytest.raises(StorageError, match="holds a training run, whose model would be lost"):
        save_model(*built("dam", "seed=1"), tmp_path)
    assert (tmp_path / "weights.safetensors").read_bytes() == before


def test_files_that_are_no_models_are_not_overwritten(tmp_path):
    (tmp_path / "spec.yaml").write_text("mine")
    with pytest.raises(StorageError, match=r"holds spec\.yaml, but no model"):
        save_model(*built("dam"), tmp_path)
    assert (tmp_path / "spec.yaml").read_text() == "mine"


def test_options_of_fitting_may_be_overridden(model):
    assert open_model(model, overrides=["fitting.steps=3"]).spec.fitting.steps == 3


@pytest.mark.parametrize("size", [0, 5, 1000, -1])
def test_truncated_weights_are_told(model, size):
    content = (model / "weights.safetensors").read_bytes()
    (model / "weights.safetensors").write_bytes(content[:size])
    with pytest.raises(ModelError, match=r"weights\.safetensors: is truncated or not a safetensors file"):
        open_model(model)


def test_foreign_safetensors_are_told(model):
    safetensors.torch.save_file({"weight": torch.zeros(3)}, model / "weights.safetensors")
    with pytest.raises(ModelError, match=r"does not have the hash that lock\.json lists"):
        open_model(model)
    relock(model)
    with pytest.raises(ModelError, match="not the weights file of a lipflow-core model"):
        open_model(model)


def test_a_pickle_is_no_safetensors_file(model):
    torch.save({"weight": torch.zeros(3)}, model / "weights.safetensors")
    relock(model)
    with pytest.raises(ModelError, match="not a safetensors file"):
        open_model(model)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("code=9", r"of another shape: .*mean_head.weight \(8×16 in the file, 9×16 in the model\).* and \d+ more"),
        ("flow.steps=3", r"missing: prior\.flow\..* and \d+ more"),
        ("flow.steps=1", r"unexpected: prior\.flow\..* and \d+ more"),
    ],
)
def test_weights_that_do_not_fit_are_listed_briefly(model, override, message):
    (model / "spec.yaml").write_text(dump_spec(load_spec(model / "spec.yaml", [override])))
    relock(model)
    with pytest.raises(ModelError, match=message):
        open_model(model)


@pytest.mark.parametrize("override", ["training.batch=3", "seed=1", "name=other"])
def test_overrides_without_effect_are_refused(model, override):
    with pytest.raises(SpecError, match="would have no effect: the model is trained"):
        open_model(model, overrides=[override])


def test_overrides_that_shape_the_weights_are_told_what_may_change(model, tmp_path, capsys):
    arguments = ["fit", str(model), "fitting.steps=2", "flow.steps=3", "--out", str(tmp_path / "codes")]
    assert main(arguments) == 3
    told = capsys.readouterr().err
    assert "override 'flow.steps=3'" in told and "do not fit this change" in told
    assert "Only options of fitting, evaluation, capture and renderer can be changed" in told
    assert "prior.flow." not in told


@pytest.mark.parametrize(("override", "code"), [("fitting.stepz=3", 3), ("fitting.steps", 3), ("flow=null", 4)])
def test_overrides_at_fault_are_told_as_such(model, override, code):
    with pytest.raises(SpecError) as caught:
        open_model(model, overrides=override)
    assert caught.value.exit_code == code
    assert "its spec can't be used" not in str(caught.value)


def test_an_unfinished_run_and_a_spec_are_no_models_yet(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ModelError, match=r"training is not finished.*\n.*--resume"):
        open_model(tmp_path)
    with pytest.raises(ModelError, match=r"is a spec, not a model directory\n.*lipflow-core train lip-flow-hmc --out"):
        open_model("lip-flow-hmc")


def test_weights_of_another_type_are_told(model):
    weights = safetensors.torch.load_file(model / "weights.safetensors")
    weights["encoder.mean_head.bias"] = weights["encoder.mean_head.bias"].double()
    safetensors.torch.save_file(weights, model / "weights.safetensors")
    relock(model)
    with pytest.raises(ModelError, match=r"of another type: encoder.mean_head.bias \(float64 in the file, float32"):
        open_model(model)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("uv", float("nan"), "uv holds NaN"),
        ("vertices_mean", float("inf"), "vertices_mean holds NaN or infinity"),
        ("triangles", 10**9, "triangles has indices outside"),
        ("uv_triangles", -1, "uv_triangles has indices outside"),
        ("landmarks", 10**9, "landmarks has indices outside"),
        ("region eyes", 1.5, "region 'eyes' has no weight from 0 to 1"),
        ("region mouth", float("nan"), "region 'mouth' has no weight from 0 to 1"),
    ],
)
def test_a_damaged_mesh_is_told(model, name, value, message):
    weights = safetensors.torch.load_file(model / "weights.safetensors")
    weights[f"template_buffers.{name}"].view(-1)[-1] = value
    safetensors.torch.save_file(weights, model / "weights.safetensors")
    relock(model)
    with pytest.raises(ModelError, match=message):
        open_model(model)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([10**12, 3], "face.vertices"),
        ([-1, 3], "face.vertices"),
        ([2**22, 3], "the weights have"),
        ([1] * 9, "is damaged"),
    ],
)
def test_shapes_that_no_capture_has_are_told(model, shape, message):
    lock = json.loads((model / "lock.json").read_text())
    lock["shapes"]["face.vertices"] = shape
    (model / "lock.json").write_text(json.dumps(lock))
    with pytest.raises(ModelError, match=message):
        open_model(model)


def test_a_model_in_double_precision_opens_as_one(tmp_path):
    avatar, spec = built("dam")
    save_model(avatar.double(), spec, tmp_path / "model")
    opened, _ = open_model(tmp_path / "model")
    assert {parameter.dtype for parameter in opened.parameters()} == {torch.float64}


def test_an_edited_spec_is_told(model):
    with (model / "spec.yaml").open("a") as file:
        file.write("# a note\n")
    with pytest.raises(ModelError, match="was edited after the model was saved"):
        open_model(model)


def test_an_edited_spec_that_says_nonsense_is_told_with_its_place(model):
    text = (model / "spec.yaml").read_text().replace("code: 8", "code: eight")
    (model / "spec.yaml").write_text(text)
    relock(model)
    with pytest.raises(ModelError, match=r"spec\.yaml:\d+:7: code: should be a whole number, got 'eight'"):
        open_model(model)


@pytest.mark.parametrize("name", ["spec.yaml", "weights.safetensors", "lock.json"])
def test_a_missing_file_is_named(model, name):
    (model / name).unlink()
    with pytest.raises(ModelError, match=f"lacks {name}"):
        open_model(model)


@pytest.mark.parametrize(
    ("lock", "message"),
    [
        ("{", r"is damaged: it is not valid JSON \(line 1, column 2\)"),
        ("[" * 100_000, "is damaged"),
        ("[]", "has format None"),
        ('{"format": "lipflow-core model 2"}', "has format 'lipflow-core model 2'"),
        ('{"format": "lipflow-core model 1"}', "is damaged: lipflow_core"),
        ("\xff", "is damaged"),
    ],
)
def test_a_damaged_lock_is_told(model, lock, message):
    (model / "lock.json").write_bytes(lock.encode("latin-1"))
    with pytest.raises(ModelError, match=message):
        open_model(model)


def test_a_path_that_is_no_model_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for path, message in (
        ("none", "no such model directory"),
        ("file", "is a file"),
        (".", "lacks lock.json, spec.yaml"),
    ):
        with pytest.raises(ModelError, match=message):
            open_model(tmp_path / path)


def test_other_versions_of_plugins_are_a_warning(model):
    lock = json.loads((model / "lock.json").read_text())
    lock["lipflow_core"] = "0.0.1"
    for part in lock["parts"]:
        if part["name"] == "glow":
            part |= {"distribution": "their-flows", "version": "3.1"}
    (model / "lock.json").write_text(json.dumps(lock))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_model(model)
    lines = [str(warning.message) for warning in caught if warning.category is ModelWarning]
    assert len(lines) == 2
    assert lines[0].endswith("was made with lipflow-core 0.0.1; this is 0.1.0")
    assert lines[1].endswith("flow 'glow' was their-flows 3.1; here it is lipflow-core 0.1.0")


def test_a_plugin_that_is_not_there_is_named_with_its_distribution(model, monkeypatch):
    lock = json.loads((model / "lock.json").read_text())
    for part in lock["parts"]:
        if part["name"] == "hmc":
            part |= {"distribution": "their-encoders", "version": "3.1"}
    (model / "lock.json").write_text(json.dumps(lock))
    monkeypatch.setenv("LIPFLOW_CORE_DISABLE", "lipflow_hmc")
    message = (
        r"needs encoder 'hmc' of their-encoders 3\.1(.|\n)*Install the missing plugins .*pip install their-encoders"
    )
    with pytest.raises(PluginError, match=message):
        open_model(model)


def test_no_registry_and_no_code_is_read_from_a_model(model):
    (model / "registry.toml").write_text('[plugins.theirs]\npath = "./theirs.py"\n')
    (model / "theirs.py").write_text("raise SystemExit('their code ran')\n")
    (model / "lipflow_dam.py").write_text("raise SystemExit('their code ran')\n")
    open_model(model)
    assert "theirs" not in default_registry().plugins


@pytest.mark.parametrize("where", ["file/model", "file"])
def test_a_place_that_can_not_be_written_ends_with_code_8(where, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        save_model(*built("dam"), tmp_path / where)
    assert caught.value.exit_code == 8
    assert os.listdir(tmp_path) == ["file"]


def test_the_command_writes_a_model(tmp_path, capsys):
    assert main(["assemble", "dam", "preset=tiny", "--out", str(tmp_path / "model")]) == 0
    assert f"wrote {tmp_path / 'model'}" in capsys.readouterr().out
    avatar, _ = open_model(tmp_path / "model")
    assert avatar.template.vertices_scale != 1


def test_the_command_can_not_write_over_a_file(tmp_path, capsys):
    (tmp_path / "model").write_text("")
    assert main(["assemble", "dam", "preset=tiny", "--out", str(tmp_path / "model")]) == 8
    assert "can't be written" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
def test_a_full_disk_ends_with_code_8_and_leaves_the_model_before_or_none(tmp_path):
    command = ["assemble", "dam", "preset=tiny", "--out"]
    assert main([*command, str(tmp_path / "before"), "seed=5"]) == 0
    script = (
        "import resource; from lipflow_core.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"for name in ('before', 'new'): print(main([*{command!r}, {str(tmp_path)!r} + '/' + name]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["8", "8"]
    assert f"{tmp_path / 'new'}: can't be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["before"]
    assert len(os.listdir(tmp_path / "before")) == 3
    assert open_model(tmp_path / "before").spec.seed == 5


def truncate(model):
    os.truncate(model / "weights.safetensors", 1000)


def edit(model):
    (model / "spec.yaml").write_text("name: another\n")


@pytest.mark.parametrize("damage", [truncate, edit, shutil.rmtree])
def test_commands_on_a_damaged_model_end_with_code_7_and_write_nothing(model, damage, tmp_path, capsys):
    damage(model)
    before = sorted(os.listdir(tmp_path))
    assert main(["sample", str(model), "--out", str(tmp_path / "out")]) == 7
    shown = capsys.readouterr()
    assert shown.err.startswith(f"lipflow-core: error: {model}")
    assert "Traceback" not in shown.err
    assert sorted(os.listdir(tmp_path)) == before


def test_commands_on_foreign_weights_end_with_code_7(model, tmp_path, capsys):
    safetensors.torch.save_file({"weight": torch.zeros(3)}, model / "weights.safetensors")
    relock(model)
    assert main(["sample", str(model), "--out", str(tmp_path / "out")]) == 7
    assert "not the weights file of a lipflow-core model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_commands_on_weights_of_another_shape_end_with_code_7(model, tmp_path, capsys):
    (model / "spec.yaml").write_text(dump_spec(load_spec(model / "spec.yaml", ["code=9"])))
    relock(model)
    assert main(["sample", str(model), "--out", str(tmp_path / "out")]) == 7
    assert "the weights do not fit the model that the spec describes" in capsys.readouterr().err


def test_commands_without_a_models_plugin_end_with_code_5(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LIPFLOW_CORE_DISABLE", "lipflow_hmc")
    assert main(["sample", str(model), "--out", str(tmp_path / "out")]) == 5
    assert "needs encoder 'hmc' of lipflow-core" in capsys.readouterr().err
