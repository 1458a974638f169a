"""A registry with the plugins of these tests."""

from __future__ import annotations

import pytest

from lipflow_core.registry import Registry, find_layers


@pytest.fixture(scope="session")
def registry(tmp_path_factory) -> Registry:
    folder = tmp_path_factory.mktemp("project")
    (folder / "registry.toml").write_text('[plugins]\ncloud = { module = "cloud" }\nwrong = { module = "wrong" }\n')
    return Registry(find_layers(folder))
