"""What the dome's tests share: one tiny capture, simulated once."""

from __future__ import annotations

import pytest
from lipflow_dome.capture import DomeCapture
from lipflow_dome.config import DomeConfig

from lipflow_core.plans import CaptureInputs


@pytest.fixture(scope="session")
def make_capture(tmp_path_factory):
    """Build a tiny capture with other options; its cache is the session's unless `cache` is given."""
    shared = tmp_path_factory.mktemp("dome")

    def make(**options) -> DomeCapture:
        config = DomeConfig(**{**DomeConfig.presets["tiny"], "cache": shared, **options})
        return DomeCapture(config, CaptureInputs())

    return make


@pytest.fixture(scope="session")
def capture(make_capture):
    return make_capture()
