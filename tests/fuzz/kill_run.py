"""Kill each long command at random moments and let it go on: `make kill`, or `python tests/fuzz/kill_run.py`.

A kill is SIGKILL to the command's process group. After one to four kills the same command runs to its end. What it
wrote must then equal what a run without kills wrote, but for times and dates; nothing temporary may be left, and at no
kill may there be less finished work than at the one before.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import safetensors.numpy
from fuzz_materials import SIZES, Materials, make

from lipflow_core.cli import main

LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.(tmp|old)|\.lock")
TIMES = {"seconds", "created", "steps_per_second"}


@dataclass(frozen=True)
class Long:
    """A command that takes long.

    Args:
        arguments: Its arguments, given its output folder.
        done: How much of the work in that folder is finished.
    """

    arguments: Callable[[Materials, Path], list[str]]
    done: Callable[[Path], int]


def _train(materials: Materials, out: Path) -> list[str]:
    few = ["preset=tiny", "training.stages.0.steps=30", "training.checkpoint_every=3", "training.evaluate_every=10"]
    return ["train", "dam", *few, "training.patience=100", materials.reading, "--out", str(out), "--resume"]


def _fit(materials: Materials, out: Path) -> list[str]:
    return ["fit", str(materials.dam), "--split", "train", "fitting.batch=1", "fitting.steps=8", "--out", str(out)]


def _evaluate(materials: Materials, out: Path) -> list[str]:
    models = [str(materials.root / name) for name in ("dam", "lip-flow-hmc")]
    return ["evaluate", *models, "--count", "2", "fitting.steps=5", "fitting.grid={}", "--out", str(out)]


def _simulate(materials: Materials, out: Path) -> list[str]:
    return ["capture", "simulate", "--preset", "tiny", "--workers", "1", *SIZES, "--out", str(out)]


def _pack(materials: Materials, out: Path) -> list[str]:
    return ["capture", "pack", str(materials.capture), "--preset", "tiny", "--workers", "1", "--out", str(out)]


def _last_step(out: Path) -> int:
    return max((int(path.stem[5:]) for path in (out / "checkpoints").glob("step-*.safetensors")), default=0)


def _batches(out: Path) -> int:
    return 100 if (out / "fit.json").exists() else len(list((out / "batches").glob("*.safetensors")))


LONG = {
    "train": Long(_train, _last_step),
    "fit": Long(_fit, _batches),
    "evaluate": Long(_evaluate, lambda out: len(list(out.glob("*/result.json")))),
    "simulate": Long(_simulate, lambda out: len(list(out.glob("lipflow/frames/*.npz")))),
    "pack": Long(_pack, lambda out: len(list(out.glob("*/*/manifest.json")))),
}


def kill_often(name: str, count: int, materials: Materials, place: Path, seed: int = 0) -> list[str]:
    """Kill a command so often, each time at a random moment; returns what must not be.

    Args:
        name: One of `LONG`.
        count: Number of kills.
        materials: What the command works on.
        place: Folder to work in.
        seed: Seed of the moments.
    """
    random, command, out = Random(f"{name} {seed}"), LONG[name], place / name
    arguments = command.arguments(materials, out)
    faults: list[str] = []
    shutil.rmtree(out, ignore_errors=True)
    # The first run imports and compiles for all others, which are forks; the second tells how long one takes.
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        main(arguments)
    shutil.rmtree(out, ignore_errors=True)
    begun = time.monotonic()
    if code := _forked(arguments, None):
        return [f"{name} ended with {code} without any kill: {said.getvalue()}"]
    whole = time.monotonic() - begun
    wanted = _content(out)
    kills = rounds = 0
    while kills < count:
        shutil.rmtree(out, ignore_errors=True)
        rounds, done, moments = rounds + 1, 0, []
        for _ in range(min(random.randint(1, 4), count - kills)):
            moments.append(round(random.uniform(0, whole), 4))
            code = _forked(arguments, moments[-1])
            if code != -signal.SIGKILL:
                moments[-1] = f"{moments[-1]} (was done)"
                if code:
                    faults.append(f"{name}: a run after kills at {moments} ended with {code}")
                break
            kills += 1
            before, done = done, command.done(out)
            if done < before:
                faults.append(f"{name}: after kills at {moments} {done} parts were done, {before} before")
        if code := _forked(arguments, None):
            faults.append(f"{name}: after kills at {moments} it ended with {code}")
            continue
        found = _content(out)
        for path in sorted({*wanted, *found}):
            if wanted.get(path) != found.get(path):
                faults.append(f"{name}: after kills at {moments} {path} differs: {_difference(wanted, found, path)}")
    print(f"{name}: {kills} kills in {rounds} rounds, a run takes {whole:.2f} s; {len(faults)} faults", flush=True)
    return faults


def _forked(arguments: list[str], kill_after: float | None) -> int:
    """Run a command in a copy of this process; its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setpgid(0, 0)
            silence = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(silence, stream)
            code = main(arguments)
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:  # killed before it had a group of its own
            os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _content(out: Path) -> dict[str, str]:
    """Path → digest of all that a command wrote, or text without times."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_dir():
            continue
        name = str(path.relative_to(out))
        data = path.read_bytes()
        if LEFTOVER.fullmatch(path.name):
            pass
        elif path.suffix == ".json":
            data = json.dumps(_timeless(json.loads(data))).encode()
        elif path.suffix == ".jsonl":
            data = json.dumps([_timeless(json.loads(line)) for line in data.splitlines()]).encode()
        elif path.suffix == ".safetensors":
            tensors = safetensors.numpy.load(data)
            data = b"".join(key.encode() + tensors[key].tobytes() for key in sorted(tensors))
        text = path.suffix in (".json", ".jsonl") and not LEFTOVER.fullmatch(path.name)
        found[name] = data.decode() if text else hashlib.sha256(data).hexdigest()
    return found


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _difference(wanted: dict[str, str], found: dict[str, str], path: str) -> str:
    one, other = wanted.get(path), found.get(path)
    if one is None or other is None:
        return "left over" if one is None else "gone"
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return f"{one[max(0, at - 60) : at + 60]!r} became {other[max(0, at - 60) : at + 60]!r}"


def run() -> int:
    """Kill each command as often as told, and print what must not be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--command", choices=list(LONG), action="append")
    parser.add_argument("--count", type=int, default=100, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", type=Path, default=Path("/tmp/lipflow-kill"), help="folder to work in")
    args = parser.parse_args()
    os.environ["LIPFLOW_CORE_CACHE"] = str(args.place / "cache")
    materials = make(args.place / "materials")
    failed = 0
    for name in args.command or LONG:
        faults = kill_often(name, args.count, materials, args.place, args.seed)
        for fault in faults:
            print("  " + fault[:700], flush=True)
        failed += bool(faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run())
