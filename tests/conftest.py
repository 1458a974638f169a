"""What all tests share: a private cache for captures, no plugins of the user's, and the count of conformance checks."""

from __future__ import annotations

import os
import tempfile

import pytest

EMPTY = pytest.StashKey[tempfile.TemporaryDirectory]()


def pytest_configure(config):
    """Let the user's own plugins and switches change no test: before collection, which already lists components."""
    for name in ("LIPFLOW_CORE_REGISTRY", "LIPFLOW_CORE_DISABLE"):
        os.environ.pop(name, None)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ["XDG_CONFIG_HOME"] = config.stash.setdefault(EMPTY, tempfile.TemporaryDirectory()).name


@pytest.fixture(autouse=True, scope="session")
def capture_cache(tmp_path_factory):
    """Simulated captures of this test run go to a folder of its own, shared by all its tests."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "lipflow-captures"
    os.environ["LIPFLOW_CORE_CACHE"] = str(folder)
    return folder


def pytest_terminal_summary(terminalreporter):
    ran = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if "test_shipped_components" in report.nodeid and report.when == "call"
    ]
    if ran:
        components = {report.nodeid.split("[")[1].split(":")[0] for report in ran if "[" in report.nodeid}
        terminalreporter.write_line(f"conformance: {len(ran)} checks of {len(components)} components ran")


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA GPU")
