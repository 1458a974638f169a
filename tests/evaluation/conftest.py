"""Two models trained for a few steps at preset tiny, and a spoiled capture, for all commands that need them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lipflow_core


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """System → model directory."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("dam", "lip-flow-hmc"):
        lipflow_core.train(lipflow_core.load_spec(name, ["preset=tiny"]), folder / name)
    return {name: folder / name for name in ("dam", "lip-flow-hmc")}


@pytest.fixture
def spoiled(monkeypatch, tmp_path_factory):
    """Capture `spoiled` is among the plugins."""
    registry = tmp_path_factory.mktemp("registry") / "registry.toml"
    registry.write_text(f'[plugins.spoiled]\npath = "{Path(__file__).with_name("spoiled.py")}"\n', encoding="utf-8")
    monkeypatch.setenv("LIPFLOW_CORE_REGISTRY", str(registry))


@pytest.fixture
def broken(trained, tmp_path_factory):
    """Make a copy of a model, some part of which has NaN weights: `broken(system, part)` → its directory."""

    def make(system, part):
        avatar, spec = lipflow_core.open_model(trained[system])
        with torch.no_grad():
            for parameter in getattr(avatar, part).parameters():
                parameter.fill_(torch.nan)
        return lipflow_core.save_model(avatar, spec, tmp_path_factory.mktemp("broken") / "model")

    return make
