"""Two models trained for a few steps at preset tiny, for all commands that need one."""

from __future__ import annotations

import pytest

import lipflow_core


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """System → model directory."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("dam", "lip-flow-hmc"):
        lipflow_core.train(lipflow_core.load_spec(name, ["preset=tiny"]), folder / name)
    return {name: folder / name for name in ("dam", "lip-flow-hmc")}
