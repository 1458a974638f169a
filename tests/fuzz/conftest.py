"""What mutants are made of, once for all tests of this folder."""

import pytest
from fuzz_materials import make


@pytest.fixture(scope="session")
def materials(tmp_path_factory):
    return make(tmp_path_factory.mktemp("materials") / "all")
