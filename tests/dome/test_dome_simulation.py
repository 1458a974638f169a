"""The packed cache: the same however it was made, whole or resumable, and honest when damaged."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from lipflow_dome import simulation
from lipflow_kit.store import MANIFEST, Store

from lipflow_core.errors import CaptureError, StorageError


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.npy"))}


def test_same_frames_by_seed_and_other_frames_by_another(capture, make_capture, tmp_path):
    capture.split("train")
    again, other = make_capture(cache=tmp_path), make_capture(seed=1)
    again.split("train")
    other.split("train")
    assert contents(again.folder / "train") == contents(capture.folder / "train")
    assert contents(other.folder / "train") != contents(capture.folder / "train")


def test_same_frames_whatever_the_number_of_processes(capture, make_capture, tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "CHUNKS_WORTH_A_WORKER", 1)
    monkeypatch.setattr("lipflow_dome.filming.Film.frames_at_once", 12)
    capture.split("train")
    together = make_capture(cache=tmp_path, workers=2)
    monkeypatch.setattr(together.film, "shoot", lambda *given: pytest.fail("filmed in this process"))
    together.split("train")
    assert contents(together.folder / "train") == contents(capture.folder / "train")


KILLED = """
import os, signal, sys
from pathlib import Path
from lipflow_core.plans import CaptureInputs
from lipflow_dome.capture import DomeCapture
from lipflow_dome.config import DomeConfig
from lipflow_dome.filming import Film
Film.frames_at_once = 2
config = DomeConfig(**{**DomeConfig.presets["tiny"], "cache": sys.argv[1], "workers": 1})
marks = []
def die(event, given):
    if event == "open" and Path(str(given[0])).parent.name == "done":
        marks.append(given[0])
        if len(marks) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(die)
DomeCapture(config, CaptureInputs()).split("train")
"""


def test_killed_simulation_resumes_to_the_same_frames(capture, make_capture, tmp_path, monkeypatch):
    capture.split("train")
    resumed = make_capture(cache=tmp_path)
    done = resumed.folder / "train" / "done"
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)])
    assert process.returncode == -signal.SIGKILL
    assert not (resumed.folder / "train" / MANIFEST).exists()
    assert len(os.listdir(done)) == 3
    monkeypatch.setattr("lipflow_dome.filming.Film.frames_at_once", 2)
    filmed = []
    shoot = resumed.film.shoot
    monkeypatch.setattr(resumed.film, "shoot", lambda *given: filmed.append(1) or shoot(*given))
    resumed.split("train")
    assert len(filmed) == 12 - 3
    assert contents(resumed.folder / "train") == contents(capture.folder / "train")


def test_complete_cache_is_opened_without_filming(capture, make_capture, monkeypatch):
    capture.split("train")
    again = make_capture()
    monkeypatch.setattr(again.film, "shoot", lambda *given: pytest.fail("filmed again"))
    assert len(again.split("train")) == 24


@pytest.mark.parametrize("damage", ["truncated", "missing", "foreign manifest", "manifest cut short"])
def test_damaged_cache_says_what_to_delete(make_capture, tmp_path, damage):
    made = make_capture(cache=tmp_path, sequences=1)
    made.split("train")
    folder = made.folder / "train"
    if damage == "truncated":
        os.truncate(folder / "dome.npy", 500)
    elif damage == "missing":
        (folder / "vertices.npy").unlink()
    elif damage == "foreign manifest":
        manifest = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps({**manifest, "frames": 5}))
    else:
        (folder / MANIFEST).write_text('{"frames"')
    with pytest.raises(CaptureError, match="Delete the folder"):
        make_capture(cache=tmp_path, sequences=1).split("train")


def test_unwritable_cache_is_a_storage_error(make_capture, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cache"):
        make_capture(cache=tmp_path / "file" / "below").split("train")


def test_a_disk_that_fills_up_under_the_workers_is_a_storage_error(make_capture, tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "CHUNKS_WORTH_A_WORKER", 1)
    monkeypatch.setattr("lipflow_dome.filming.Film.frames_at_once", 2)
    made = make_capture(cache=tmp_path, workers=2)
    spread = simulation._spread

    def disk_full_then_spread(*given):
        # As near to a full disk as a test gets without mounting one: the workers inherit that no file may be as long
        # as the vertices' already is.
        with file_size_limit(100_000):
            return spread(*given)

    monkeypatch.setattr(simulation, "_spread", disk_full_then_spread)
    with pytest.raises(StorageError, match="could not write the simulated capture") as caught:
        made.split("train")
    assert caught.value.exit_code == 8
    monkeypatch.setattr(simulation, "_spread", spread)
    assert len(made.split("train")) == 24


@contextlib.contextmanager
def file_size_limit(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_complete_cache_is_opened_without_setting_up_what_films(capture, make_capture, monkeypatch):
    capture.split("train")
    monkeypatch.setattr("lipflow_dome.filming.Shader", lambda *given: pytest.fail("the shader was set up"))
    assert len(make_capture().split("train")) == 24


def test_store_reports_a_disk_too_small(tmp_path):
    store = Store(tmp_path, {"pixels": ((1 << 20, 1 << 20), "|u1")}, 1 << 10, 1)
    with pytest.raises(StorageError, match=r"Free some space|could not write"):
        store.prepare()
    assert not store.complete


def test_store_reads_back_what_was_written(tmp_path):
    store = Store(tmp_path, {"numbers": ((2,), "<f4")}, 5, 2)
    store.prepare()
    for chunk in reversed(store.missing()):
        frames = store.frames_of(chunk)
        store.write(chunk, {"numbers": np.stack([frames, -frames], 1)})
    store.finish()
    assert np.array_equal(store.open()["numbers"][:, 0], np.arange(5))
