"""The avatars that are fitted."""

from __future__ import annotations

import pytest
import torch
from fitted_avatars import CODE, FLOAT64, make_avatar

from lipflow_core.testing import inputs


@pytest.fixture(scope="session")
def dam():
    return make_avatar("standard-normal")


@pytest.fixture(scope="session")
def lip_flow():
    return make_avatar("flow", "hmc")


@pytest.fixture
def codes() -> torch.Tensor:
    """(5, D) codes to recover."""
    return inputs.normal(3, 5, CODE, dtype=FLOAT64)
