"""How kernels are compiled and kept on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from lipflow_kit.compiled import machine_code
from lipflow_kit.compiled.waiting import Waiting
from numba import njit, types
from numba.core.event import install_listener
from numba.extending import intrinsic

FILES = {
    "__init__.py": "",
    "definition.py": "FACTOR = 2",
    "unrelated.py": "",
    "pairs.py": """
from typing import NamedTuple

class Pair(NamedTuple):
    low: int
    high: int
""",
    "cpu/__init__.py": "",
    "cpu/parts.py": """
from lipflow_kit.compiled.jit import inline

@inline
def added(x):
    return x + 0
""",
    "cpu/kernels.py": """
from lipflow_kit.compiled.jit import kernel
from doubles import definition
from doubles.definition import FACTOR
from doubles.cpu.parts import added

@kernel
def double(x):
    return added(FACTOR * x)

@kernel
def attribute(x):
    return definition.FACTOR * x

@kernel
def difference(pair):
    return pair.high - pair.low
""",
}
"""A package with kernels in a folder and constants in the one above."""


class Package:
    """A copy of `FILES`, whose kernels are called in processes of their own."""

    def __init__(self, folder):
        self.folder = folder
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        path = self.folder / "doubles" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def kept(self):
        """The files of kernel `double`."""
        return sorted((self.folder / "doubles/cpu/__pycache__").glob("*double.*.nbc"))

    def start(self, program: str) -> subprocess.Popen:
        path = os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")])
        environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
        return subprocess.Popen(
            [sys.executable, "-c", f"from doubles.cpu.kernels import *\n{program}"],
            env={**environment, "PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, call: str) -> tuple[str, bool]:
        """The result of a call, and whether its kernel came from the disk."""
        kernel = call.partition("(")[0]
        output, _ = self.start(f"print({call}, sum({kernel}.stats.cache_hits.values()))").communicate()
        result, hits = output.split()
        return result, hits == "1"


@pytest.fixture
def package(tmp_path):
    return Package(tmp_path)


@pytest.mark.parametrize(
    ("call", "changed", "text", "result"),
    [
        ("double(21)", "cpu/parts.py", FILES["cpu/parts.py"].replace("x + 0", "x + 1"), "43"),
        ("double(21)", "definition.py", "FACTOR = 30", "630"),
        ("attribute(21)", "definition.py", "FACTOR = 30", "630"),
    ],
    ids=["a function of its folder", "a constant of the folder above", "an attribute of a module"],
)
def test_a_kernel_is_compiled_again_when_something_that_it_is_made_of_changes(package, call, changed, text, result):
    assert [package.run(call), package.run(call)] == [("42", False), ("42", True)]
    package.write(changed, text)
    assert package.run(call) == (result, False)


def test_a_kernel_is_kept_when_something_else_of_its_package_changes(package):
    package.run("double(21)")
    package.write("unrelated.py", "VALUE = 1")
    assert package.run("double(21)") == ("42", True)


def test_a_kernel_of_named_tuples_is_compiled_for_the_order_of_their_fields(package):
    difference = "difference(__import__('doubles.pairs').pairs.Pair(low=1, high=43))"
    assert package.run(difference) == ("42", False)
    package.write("pairs.py", FILES["pairs.py"].replace("low", "first").replace("high", "low").replace("first", "high"))
    assert package.run(difference) == ("42", False)


def test_machine_code_of_earlier_sources_is_deleted(package):
    package.run("double(21)")
    (before,) = package.kept()
    package.write("definition.py", "FACTOR = 30")
    package.run("double(21)")
    (after,) = package.kept()
    assert before != after


def test_damaged_machine_code_counts_as_missing(package):
    package.run("double(21)")
    (path,) = package.kept()
    path.write_bytes(path.read_bytes()[:100])
    assert package.run("double(21)") == ("42", False)
    assert package.run("double(21)") == ("42", True)


def test_processes_that_compile_at_once_keep_the_kernels_of_all(package):
    calls = ["double(21)", "double(21.0)", "double(21j)", "double(True)"]
    processes = [package.start(f"input()\n{call}") for call in calls]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.close()
    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    for process in processes:
        process.stdout.close()
    assert [package.run(call)[1] for call in calls] == [True] * 4


def test_the_renderers_kernels_are_made_of_their_constants_and_of_the_toolkit():
    import lipflow_render.cpu.surfaces  # noqa: F401

    made_of = {source.split()[0] for source in machine_code.sources("lipflow_render.cpu.surfaces")}
    assert {
        "lipflow_render.cpu.surfaces",
        "lipflow_render.cpu.scanline",
        "lipflow_render.cpu.scene",
        "lipflow_render.definition",
        "lipflow_kit.compiled.lanes",
        "lipflow_kit.compiled.memory",
    } <= made_of
    assert not any(name.startswith(("numba", "llvmlite", "lipflow_render.warp")) for name in made_of)


class Watched:
    """Standard error that says when a line was written."""

    def __init__(self):
        self.text, self.told = "", threading.Event()

    def write(self, text):
        self.text += text
        if "\n" in self.text:
            self.told.set()

    def flush(self):
        pass


def test_a_long_compilation_is_told_while_it_lasts(monkeypatch):
    stream = Watched()
    monkeypatch.setattr(sys, "stderr", stream)

    @intrinsic
    def compiled_when_told(typing):
        assert stream.told.wait(60), "nothing was printed while the kernel was being compiled"
        return types.int64(), lambda context, builder, sig, args: context.get_constant(types.int64, 42)

    @njit
    def slow():
        return compiled_when_told()

    waiting = Waiting(patience=0.0)
    waiting.watch(slow)
    with install_listener("numba:compile", waiting):
        assert slow() == 42
    assert stream.text.startswith(f"lipflow-core: compiling kernels of {__name__} for this machine")
