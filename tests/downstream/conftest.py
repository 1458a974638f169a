"""The plugins of this folder, none of them shipped, as the registry sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(autouse=True, scope="module")
def downstream_registry():
    """Let every test of this folder run with its registry.toml, as LIPFLOW_CORE_REGISTRY names it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIPFLOW_CORE_REGISTRY", str(HERE / "registry.toml"))
        yield
