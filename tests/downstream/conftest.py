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


NAMES_OF_FACES = {
    "plan agrees with reality",
    "frames come in the order asked for",
    "the template fits the frames",
}
"""Checks of the kit that ask for observations by the dome's names instead of the capture's roles."""


def pytest_collection_modifyitems(items):
    """Expect those checks to fail, and fail once they pass, so that this goes when the kit knows roles."""
    for item in items:
        check = item.callspec.params.get("check") if hasattr(item, "callspec") else None
        if item.path.name == "test_tube_capture.py" and str(check) in NAMES_OF_FACES:
            item.add_marker(pytest.mark.xfail(strict=True, reason="the kit knows the dome's names"))
