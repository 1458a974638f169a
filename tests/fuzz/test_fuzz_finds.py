"""What the mutants and kills found, a test for each kind."""

import io
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr

import pytest

from lipflow_core.cli import main


def said(*arguments):
    """Exit code and message of a command."""
    err = io.StringIO()
    with redirect_stderr(err):
        return main([str(argument) for argument in arguments]), err.getvalue()


def pipe(path):
    path.unlink()
    os.mkfifo(path)
    return path


PIPES = {
    "stopped/run.json": ("train", "{m}/dam/spec.yaml", "--resume", "--out", "{place}"),
    "stopped/checkpoints/step-00000001.safetensors": ("train", "{m}/dam/spec.yaml", "--resume", "--out", "{place}"),
    "fit/fit.json": ("fit", "{m}/dam", "--frames", "0", "--out", "{place}"),
    "evaluation/dam/result.json": ("evaluate", "{m}/dam", "--count", "1", "fitting.grid={{}}", "--out", "{place}"),
    "evaluation/dam/fits.safetensors": ("report", "{place}", "--out", "{place}.html"),
    "evaluation/dam/metrics.jsonl": ("report", "{place}", "--out", "{place}.html"),
}


@pytest.mark.parametrize("file", PIPES)
def test_no_command_waits_for_a_pipe_in_the_place_of_a_file(file, materials, tmp_path):
    name, _, path = file.partition("/")
    place = shutil.copytree(materials.root / name, tmp_path / name)
    pipe(place / path)
    code, message = said(*(word.format(m=materials.root, place=place) for word in PIPES[file]))
    # Where the file holds nothing that could not be made again, it is taken for a missing one.
    assert code in (0, 7, 8)
    assert code == 0 or "is a pipe, not a file" in message or "damaged or missing" in message


def packing(materials, pack):
    return "capture", "pack", materials.capture, "--preset", "tiny", "--workers", "1", "--out", pack


@pytest.mark.parametrize("file", ["face.texture.npy", "manifest.json"])
def test_a_pack_with_a_pipe_in_the_place_of_a_file_is_damaged_or_packed_anew(file, materials, tmp_path):
    pack = shutil.copytree(materials.pack, tmp_path / "pack")
    pipe(next(pack.rglob(f"train/{file}")))
    code, message = said(*packing(materials, pack))
    assert code in (0, 6)
    assert code == 0 or "is a pipe, not a file" in message


def test_packing_goes_on_without_writing_through_a_link(materials, tmp_path):
    pack = shutil.copytree(materials.pack, tmp_path / "pack")
    array = next(pack.rglob("train/face.texture.npy"))
    outside = tmp_path / "outside.npy"
    shutil.move(array, outside)
    array.symlink_to(outside)
    (array.parent / "manifest.json").unlink()
    before = outside.stat().st_mtime_ns
    assert said(*packing(materials, pack))[0] == 0
    assert outside.stat().st_mtime_ns == before
    assert not array.is_symlink()


def test_a_pack_whose_folder_is_a_link_is_refused(materials, tmp_path):
    pack = shutil.copytree(materials.pack, tmp_path / "pack")
    split = next(pack.rglob("train"))
    (split / "manifest.json").unlink()
    shutil.move(split, tmp_path / "elsewhere")
    split.symlink_to(tmp_path / "elsewhere")
    code, message = said(*packing(materials, pack))
    assert (code, "is a link" in message) == (8, True)


def test_packing_removes_what_a_killed_process_left(materials, tmp_path):
    pack = shutil.copytree(materials.pack, tmp_path / "pack")
    split = next(pack.rglob("train"))
    (split / "manifest.json").unlink()
    (split / ".face.texture.npy.0123abcd.tmp").write_bytes(b"half of it")
    # Killed after the manifest of the other split was written, before its marks were removed.
    marks = split.with_name("held-out") / "done"
    marks.mkdir()
    (marks / "000000").touch()
    assert said(*packing(materials, pack))[0] == 0
    assert not [path for path in pack.rglob("*") if path.name.startswith(".") or path.name == "done"]


def test_a_pack_with_a_note_in_another_encoding_is_packed_anew(materials, tmp_path):
    pack = shutil.copytree(materials.pack, tmp_path / "pack")
    split = next(pack.rglob("train"))
    (split / "manifest.json").unlink()
    (split / "about.json").write_bytes(b"\xff\xfe")
    assert said(*packing(materials, pack))[0] == 0


def test_a_run_whose_settings_are_nested_too_deeply_is_damaged(materials, tmp_path):
    run = shutil.copytree(materials.stopped, tmp_path / "run")
    (run / "run.json").write_text("[" * 100_000)
    code, message = said("train", materials.dam / "spec.yaml", "--resume", "--out", run)
    assert (code, "run.json can't be read" in message) == (7, True)


@pytest.mark.parametrize(
    "override",
    [
        "code=1000000000000",
        "decoder.width=1e30",
        "encoder.hidden=100000000",
        "flow.steps=1000000000",
        "flow.hidden=9999999",
    ],
)
def test_sizes_that_no_memory_holds_are_refused_in_the_plan(override):
    code, message = said("assemble", "dam-flow", "--check", override)
    assert (code, "less than or equal to" in message) == (3, True)


def test_a_model_larger_than_the_memory_is_refused(tmp_path):
    script = (
        "import resource, sys, torch\n"
        "from lipflow_core.cli import main\n"
        "main(['assemble', 'dam', 'preset=tiny'])\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**28,) * 2)\n"
        "sys.exit(main(['assemble', 'dam', 'preset=tiny', 'decoder.hidden=65536']))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, "needs more memory than there is" in ended.stderr) == (3, True), ended.stderr


@pytest.mark.parametrize(
    "override", ["fitting.optimizer.pose_learning_rate=1e+300", "fitting.grid={learning_rate: [0.1, 1e31]}"]
)
def test_a_number_beyond_single_precision_is_refused(override, capsys):
    assert main(["assemble", "dam", "--check", override]) == 3
    assert "should be within ±1e+30, since models compute in single precision" in capsys.readouterr().err


def test_a_word_that_looks_like_an_option_does_not_steer_the_terminal(capsys):
    with pytest.raises(SystemExit):
        main(["assemble", "dam", "--check", "-1=\x1b[31mred"])
    assert "-1=\\x1b[31mred" in capsys.readouterr().err
