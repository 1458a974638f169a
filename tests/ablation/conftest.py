"""The number of cells of the test with random kills."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--cells", type=int, default=60, help="cells of the test with random kills (600 for the full one)")
    parser.addoption("--kills", type=int, default=6, help="processes that it kills (24 for the full one)")


@pytest.fixture
def trivial_cells(request):
    return request.config.getoption("--cells", default=60)


@pytest.fixture
def kills(request):
    return request.config.getoption("--kills", default=6)
