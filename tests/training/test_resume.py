"""A run that is ended at any instant goes on to the same weights, bit for bit."""

import json
import os
import random
import resource
import shutil
import signal
import time

import pytest
from runs import KilledAfter, Notes, dam_regressor, make_spec, rows, same, start, weights

from lipflow_core.errors import Interrupted, ModelError, StorageError
from lipflow_core.model_directory import open_model
from lipflow_core.training import train
from lipflow_core.training.run_directory import RunDirectory
from lipflow_core.training.signals import StopOnSignal

# Batch norm, dropout, a flow initialised from data, two stages with different priors, and augmentation.
SYSTEM = {
    **dam_regressor(),
    "driving": "keypoint",
    "prior": "flow",
    "flow": "glow",
    "training": {
        "stages": [
            {"name": "dam", "train": ["encoder", "decoder"], "prior": "standard-normal"},
            {
                "name": "flow",
                "train": ["driving", "prior", "encoder"],
                "objectives": ["geometry", {"type": "divergence", "weight": {"start": 0, "end": 0.1, "steps": 20}}],
            },
        ]
    },
}
OPTIONS = (
    "training.stages.0.steps=12",
    "training.stages.1.steps=30",
    "training.checkpoint_every=4",
    "training.evaluate_every=5",
    "training.log_every=4",
    "training.patience=30",
    "training.workers=2",
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, globe_registry):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIPFLOW_CORE_REGISTRY", str(globe_registry))
        return train(make_spec(SYSTEM, *OPTIONS), tmp_path_factory.mktemp("undisturbed") / "run").path


def logged(run):
    return [rows(run, kind) for kind in ("train", "held-out")]


def test_killed_at_random_moments_it_ends_with_the_same_weights(tmp_path):
    # Without pictures, so that each of the many processes need not load a renderer's kernels.
    options = (*OPTIONS, "training.stages.0.objectives.photometric.weight=0")
    undisturbed = train(make_spec(SYSTEM, *options), tmp_path / "undisturbed").path
    out = tmp_path / "run"
    chance = random.Random(0)
    # Step after which each process is killed, counted from where it goes on: the first has no checkpoint yet, the
    # others end on both sides of the second stage's start.
    for step in (1, 6, 7, 7, 9, 10):
        process = start(SYSTEM, options, out, KilledAfter(step, 0 if step == 1 else chance.uniform(0, 0.05)))
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert (out / "run.json").exists()
        assert any((out / "checkpoints").glob("step-*")) is (step != 1)
    process = start(SYSTEM, options, out)
    process.join()
    assert process.exitcode == 0
    assert same(weights(out), weights(undisturbed))
    assert logged(out) == logged(undisturbed)
    result, wanted = (json.loads((run / "result.json").read_text()) for run in (out, undisturbed))
    assert result["stages"] == wanted["stages"]


def grown(path, size) -> bool:
    try:
        return path.stat().st_size >= size
    except FileNotFoundError:
        return False


def test_what_a_killed_process_was_writing_is_no_obstacle_and_is_removed(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".run.json.0123abcd.tmp").write_text("{")
    interrupted_run(out)
    left = out / "checkpoints" / ".step-00000013.safetensors.89abcdef.tmp"
    left.write_bytes(b"half of it")
    spec = make_spec("dam", "training.stages.0.steps=16", "training.patience=100")
    train(spec, out, resume=True)
    assert not [path for path in out.rglob(".*")]


@pytest.mark.parametrize("step", [7, 12, 13, 26])
def test_stopped_after_a_step_it_goes_on_from_there(step, undisturbed, tmp_path):
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == step

    with pytest.raises(Interrupted, match=f"after step {step}"):
        train(make_spec(SYSTEM, *OPTIONS), tmp_path / "run", stop=stop)
    train(make_spec(SYSTEM, *OPTIONS), tmp_path / "run", resume=True)
    assert same(weights(tmp_path / "run"), weights(undisturbed))
    assert logged(tmp_path / "run") == logged(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(number, tmp_path):
    steps = ("training.stages.0.steps=100000", "training.patience=100000", "training.checkpoint_every=100000")
    process = start("dam", steps, tmp_path / "run")
    while not grown(tmp_path / "run" / "metrics.jsonl", 500):
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == 130
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    assert int(checkpoint.stem[5:]) == rows(tmp_path / "run")[-1]["step"]


def test_a_second_interrupt_ends_at_once():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), StopOnSignal() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        assert stop.received == "SIGTERM"
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_is_left_as_it_is(undisturbed):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}
    result = train(make_spec(SYSTEM, *OPTIONS), undisturbed, resume=True)
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")} == before
    assert [stage.name for stage in result.stages] == ["dam", "flow"]
    assert same(
        {name: t for name, t in result.avatar.state_dict().items() if name in weights(undisturbed)},
        weights(undisturbed),
    )


@pytest.mark.parametrize("damage", ["no lock", "truncated weights"])
def test_the_damaged_model_of_a_finished_run_is_written_anew(damage, undisturbed, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    if damage == "no lock":
        (run / "lock.json").unlink()
    else:
        (run / "weights.safetensors").write_bytes((run / "weights.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelError) as caught:
        open_model(run)
    assert damage != "no lock" or "--resume" in caught.value.hint
    train(make_spec(SYSTEM, *OPTIONS), run, resume=True)
    assert same(weights(run), weights(undisturbed))
    open_model(run)


def test_the_edited_spec_of_a_finished_run_is_not_overwritten(undisturbed, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    with (run / "spec.yaml").open("a") as file:
        file.write("# mine\n")
    with pytest.raises(ModelError, match="was edited"):
        train(make_spec(SYSTEM, *OPTIONS), run, resume=True)
    assert (run / "spec.yaml").read_text().endswith("# mine\n")
    assert (run / "result.json").exists()


def test_a_finished_run_without_checkpoints_is_not_trained_again(undisturbed, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(ModelError, match="checkpoints are gone"):
        train(make_spec(SYSTEM, *OPTIONS), run, resume=True)
    open_model(run)


def test_a_run_is_not_overwritten(finished_run):
    with pytest.raises(StorageError, match="already holds a run") as caught:
        train(make_spec("dam"), finished_run.path)
    assert "--resume" in caught.value.hint


def test_a_folder_that_another_process_trains_in_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "run"
    with RunDirectory(path).claimed():
        with pytest.raises(StorageError, match="another process is training there"):
            train(make_spec("dam"), path, resume=True)
        assert [file.name for file in path.iterdir()] == [".lock"]
    assert not path.exists()
    train(make_spec("dam"), path)


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StorageError, match="not empty"):
        train(make_spec("dam"), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("training.batch=3", "spec.training.batch was 4, is 3"),
        ("capture.seed=9", "capture was"),
        ("training.threads=2", "threads was 1, is 2"),
        ("training.precision=64-true", 'spec.training.precision was "32-true", is "64-true"'),
    ],
)
def test_another_run_is_not_resumed(override, named, finished_run):
    with pytest.raises(ModelError, match=named):
        train(make_spec("dam", override), finished_run.path, resume=True)


def test_what_changes_no_weight_may_change(finished_run):
    spec = make_spec("dam", "training.workers=3", "fitting.steps=3", "evaluation.frames=2")
    assert train(spec, finished_run.path, resume=True).summary == finished_run.summary


def interrupted_run(out, at: int = 12):
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == at

    options = ("training.stages.0.steps=16", "training.patience=100")
    with pytest.raises(Interrupted):
        train(make_spec("dam", *options), out, stop=stop)
    return make_spec("dam", *options)


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(damage, tmp_path):
    spec = interrupted_run(tmp_path / "run")
    _, last = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    content = bytearray(last.read_bytes())
    if damage == "changed":
        content[-5] ^= 1
    last.write_bytes({"truncated": content[: len(content) // 2], "changed": content, "empty": b""}[damage])
    notes = Notes()
    train(spec, tmp_path / "run", resume=True, progress=notes)
    assert "falling back" in notes.lines[0] and last.name in notes.lines[0]
    assert [row["step"] for row in rows(tmp_path / "run")] == list(range(1, 17))


def test_when_every_checkpoint_is_damaged_it_says_so(tmp_path):
    spec = interrupted_run(tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").glob("step-*"):
        path.write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="every checkpoint is damaged"):
        train(spec, tmp_path / "run", resume=True)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    spec = interrupted_run(tmp_path / "run", at=9)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()}
    # As near to a full disk as a test gets without mounting one: no file may grow beyond this.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(StorageError, match=r"can't be written"):
            train(spec, tmp_path / "run", resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()} == before
    train(spec, tmp_path / "run", resume=True)
