"""What must hold of every mutant, whatever its command ends with."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import shutil
import signal
import stat
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy
import safetensors.numpy
from fuzz_materials import Materials
from fuzz_mutants import Mutant, make_mutant

from lipflow_core.cli import main

PROCESSOR_SECONDS = 10
WALL_SECONDS = 120
"""A command that waits for a pipe uses no processor time."""
MEMORY = 2 * 2**30
CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.(tmp|old)|\.lock")
NOT_FINITE = re.compile(r"(?<![\w/.-])[-+]?(nan|inf|infinity)(?![\w/:-])", re.IGNORECASE)
NAMED = re.compile(r"NaN|infinit|not finite")


@dataclass(frozen=True)
class Outcome:
    """How a mutant ended.

    Args:
        code: Exit code of its command; None if it was stopped.
        faults: What must not be; empty where all is well.
        about: Command and mutation.
        output: All that was printed.
        seconds: Processor time.
    """

    code: int | None
    faults: list[str]
    about: str
    output: str
    seconds: float


class Hung(BaseException):
    """A command took too long."""


def try_mutant(kind: str, seed: int, materials: Materials, place: Path) -> Outcome:
    """Make a mutant in a folder, run its command in this process and judge it; the folder is removed if all is well."""
    shutil.rmtree(place, ignore_errors=True)
    (place / "victim").mkdir(parents=True)
    (place / "victim" / "file").write_text("a stranger's file\n")
    (place / "here").mkdir()
    mutant = make_mutant(kind, seed, materials, place)
    before = _snapshot(place)
    begun = time.process_time()
    _peak_memory(begin=True)
    with _limited_memory(mutant.arguments):
        code, out, err = _called(mutant, place / "here")
    seconds = time.process_time() - begun
    faults = list(_faults(mutant, code, out, err, before, place))
    if _peak_memory() > MEMORY:
        faults.append(f"{_peak_memory() / 2**30:.1f} GB of memory")
    about = f"lipflow-core {' '.join(mutant.arguments)[:600]!r}: {mutant.about}"
    if not faults:
        shutil.rmtree(place)
    return Outcome(code, faults, about, out + err, seconds)


@contextlib.contextmanager
def _limited_memory(arguments: list[str]) -> Iterator[None]:
    """Let a command ask for no more than `MEMORY` on top of the addresses that this process uses now."""
    if arguments[0] == "report":  # its charts' engine reserves far more addresses than it uses
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _peak_memory(*, begin: bool = False) -> int:
    """The most memory in bytes that this process used since it asked to begin."""
    if begin:
        Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def _called(mutant: Mutant, here: Path) -> tuple[int | str | None, str, str]:
    out, err = io.StringIO(), io.StringIO()

    def stop(number: int, frame: object) -> None:
        raise Hung(number)

    old = {number: signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)}
    came_from = Path.cwd()
    os.chdir(here)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("default")
            signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS)
            signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
            try:
                code: int | str | None = main(mutant.arguments)
            except SystemExit as end:
                code = end.code
            except Hung as hung:
                code = f"hung: over {PROCESSOR_SECONDS if hung.args[0] == signal.SIGPROF else WALL_SECONDS} s"
            except BaseException as error:
                code = f"raised {error!r}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in old.items():
            signal.signal(number, handler)
        os.chdir(came_from)
    return code, out.getvalue(), err.getvalue()


def _faults(
    mutant: Mutant, code: int | str | None, out: str, err: str, before: dict[Path, tuple], place: Path
) -> Iterator[str]:
    text = out + err
    if code not in CODES:
        yield f"exit {code}: {text[-1500:]}"
    if "Traceback (most recent call last)" in text:
        yield f"a traceback: {text[-1500:]}"
    if len(text) > 100_000:
        yield f"{len(text)} letters of output"
    if raw := re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", re.sub(r"\r|\x1b\[K", "", text)):
        yield f"raw control character {raw[0]!r} in the output"
    after = _snapshot(place)
    changed = [path for path in {*before, *after} if before.get(path) != after.get(path)]
    for path in changed:
        if not any(path == allowed or allowed in path.parents for allowed in mutant.writes):
            yield f"{path} was changed"
    for path in after.keys() - before.keys():
        if LEFTOVER.fullmatch(path.name):
            yield f"left over: {path.relative_to(place)}"
    odd = [f"stdout: {found[0]}" for found in [NOT_FINITE.search(out)] if found]
    for path in changed:
        if path in after and stat.S_ISREG(after[path][0]) and not LEFTOVER.fullmatch(path.name):
            try:
                if _holds_nan(path):
                    odd.append(str(path.relative_to(place)))
            except Exception as error:
                yield f"half-written: {path.relative_to(place)}: {error!r}"
    if code == 0 and odd and not NAMED.search(text):
        yield f"exit 0 with NaN in {', '.join(odd)}: {text[-800:]}"


def _snapshot(place: Path) -> dict[Path, tuple]:
    """Everything below a folder, without following links."""
    found = {}
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            # The time of a folder changes with any temporary file in it.
            content = () if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns, status.st_ino)
            found[path] = (status.st_mode, *content)
    return found


def _holds_nan(path: Path) -> bool:
    """Read a written file whole, and tell whether numbers in it are not finite. Raises whatever shows damage."""
    data = path.read_bytes()
    if path.suffix == ".safetensors":
        arrays = safetensors.numpy.load(data).values()
        if path.parent.name == "checkpoints":  # a trainer's state holds −∞ for what it has not met yet
            return False
        return any(a.dtype.kind == "f" and not numpy.isfinite(a).all() for a in arrays)
    if path.suffix == ".npy":
        array = numpy.load(io.BytesIO(data))
        return array.dtype.kind == "f" and not numpy.isfinite(array).all()
    if path.suffix == ".json":
        return _nan_in(json.loads(data))
    if path.suffix == ".png":
        from PIL import Image

        Image.open(io.BytesIO(data)).load()
    return False


def _nan_in(value: object) -> bool:
    if isinstance(value, float):
        return not numpy.isfinite(value)
    if isinstance(value, dict | list):
        return any(map(_nan_in, value.values() if isinstance(value, dict) else value))
    return False
