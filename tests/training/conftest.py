"""The globe as a plugin, and runs that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import REGISTRY, make_spec

from lipflow_core.training import train


@pytest.fixture(autouse=True, scope="session")
def globe_registry(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("registry") / "registry.toml"
    path.write_text(f'[plugins.globe]\npath = "{Path(__file__).with_name("globe.py")}"\n')
    return path


@pytest.fixture(autouse=True)
def globe(monkeypatch, globe_registry) -> None:
    monkeypatch.setenv(REGISTRY, str(globe_registry))


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, globe_registry):
    """A finished run of DAM."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(REGISTRY, str(globe_registry))
        return train(make_spec("dam"), tmp_path_factory.mktemp("finished") / "run")
