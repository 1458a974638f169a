"""How kernels are compiled and kept."""

from __future__ import annotations

import os
import subprocess
import sys

KERNEL = """
from lipflow_kit.compiled.jit import kernel
from doubles.parts import part

@kernel
def double(x):
    return part(x)
"""
PART = """
from lipflow_kit.compiled.jit import inline

@inline
def part(x):
    return {factor} * x
"""


def test_a_kept_kernel_is_made_anew_when_what_was_compiled_into_it_changes(tmp_path):
    package = tmp_path / "doubles"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "kernels.py").write_text(KERNEL)

    def run() -> str:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
        program = "from doubles.kernels import double; print(double(21), sum(double.stats.cache_hits.values()))"
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    (package / "parts.py").write_text(PART.format(factor=2))
    assert [run(), run()] == ["42 0", "42 1"]
    (package / "parts.py").write_text(PART.format(factor=30))
    assert run() == "630 0"
