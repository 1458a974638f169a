"""Every `>>>` example of the core and of the plugins runs, and shows what it says.

An example may use `lipflow_core`, a small `spec`, its `avatar`, a `frame` of two samples, and the `camera` that scores
are seen through. The current folder has the model directories runs/dam and runs/lip-flow-hmc, and a capture in
Multiface's layout.
"""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lipflow_multiface.writing import write_capture

import lipflow_core
from lipflow_core.plans import CaptureInputs
from lipflow_core.splits import load_frames

ROOT = Path(__file__).parents[2]


def modules() -> list[str]:
    """Every module with an example."""
    found = []
    for base in (ROOT, ROOT / "plugins"):
        for path in sorted(base.glob("lipflow_*/**/*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            if "templates" not in parts and ">>>" in path.read_text(encoding="utf-8"):
                found.append(".".join(parts).removesuffix(".__init__"))
    return found


class Checker(doctest.OutputChecker):
    """An example that shows no output may have any."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The current folder of all examples."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("dam", "lip-flow-hmc"):
        spec = lipflow_core.load_spec(name, ["preset=tiny"])
        lipflow_core.save_model(lipflow_core.assemble(spec), spec, folder / "runs" / name)
    capture = lipflow_core.load_spec("dam", ["preset=tiny"]).capture.build(CaptureInputs())
    write_capture(capture, folder / "m--20180227--0000--6795937--GHS", style="none")
    return folder


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What examples may use."""
    spec = lipflow_core.load_spec("lip-flow-hmc", ["preset=tiny"])
    capture = spec.capture.build(CaptureInputs())
    avatar = lipflow_core.assemble(spec, template=capture.template())
    split, observations = capture.split("held-out"), tuple(capture.planned.observations)
    frame = load_frames(split, np.arange(2), observations)
    camera = frame[avatar.roles.scored_view].camera
    return {"lipflow_core": lipflow_core, "torch": torch, "np": np} | {
        "spec": spec,
        "avatar": avatar,
        "frame": frame,
        "camera": camera,
    }


@pytest.mark.parametrize("module", modules())
def test_the_examples_of_a_module_do_what_they_show(module, folder, names, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LIPFLOW_CORE_CACHE", str(folder / "cache"))
    said: list[str] = []
    runner = doctest.DocTestRunner(Checker(), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module)):
        example.globs |= names
        runner.run(example, out=said.append)
    assert runner.tries and not runner.failures, "".join(said)
