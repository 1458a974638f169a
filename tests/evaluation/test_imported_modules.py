"""Each command imports what it uses: a list of modules, since times depend on the machine."""

import subprocess
import sys

import pytest

import lipflow_core

PROGRAM = """
import sys
from lipflow_core.cli import main
code = main({arguments!r})
print(code, sorted({unused!r} & sys.modules.keys()), file=sys.stderr)
"""
NEVER = {"torch._dynamo", "torch._inductor", "roma", "lightning_fabric", "scipy.optimize", "pandas", "matplotlib"}
CHARTS = {"altair", "vl_convert", "jinja2", "lipflow_report.page"}


def imported(arguments, unused):
    """Exit code of a command in a process of its own, and which of some modules it imported."""
    program = PROGRAM.format(arguments=[str(word) for word in arguments], unused=unused)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["fit", "evaluate", "sample"])
def test_commands_on_a_model_import_neither_a_compiler_of_torch_nor_training_nor_charts(command, trained, tmp_path):
    few = () if command == "sample" else ("--frames", "0:2", "fitting.steps=1")
    arguments = [command, trained["lip-flow-hmc"], *few, "--out", tmp_path / "out"]
    assert imported(arguments, NEVER | CHARTS | {"lipflow_core.training.trainer"}) == "0 []"


def test_a_report_imports_neither_kernels_nor_a_capture(trained, tmp_path):
    lipflow_core.evaluate(trained["dam"], count=1, overrides=["fitting.steps=1"], out=tmp_path / "scores")
    kernels = {"numba", "lipflow_render.cpu", "lipflow_dome.capture", "lipflow_core.training.trainer"}
    unused = NEVER - {"pandas"} | kernels
    for _ in range(2):  # the second replaces the first
        assert imported(["report", tmp_path / "scores", "--out", tmp_path / "report.html"], unused) == "0 []"


def test_a_plan_imports_no_torch():
    assert imported(["assemble", "lip-flow-hmc", "--check"], {"torch", "numba", "altair"}) == "0 []"
