import pytest
from glow_flows import COUPLINGS


@pytest.fixture(params=COUPLINGS)
def coupling(request) -> str:
    return request.param


@pytest.fixture(params=[5, 0], ids=["conditional", "unconditional"])
def context_width(request) -> int:
    return request.param
