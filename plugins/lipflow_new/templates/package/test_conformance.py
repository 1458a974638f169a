"""Does `skeleton-name` fulfil its contract?"""

import pytest

from lipflow_core.testing import Subject, checks


@pytest.fixture(scope="module")
def subject():
    return Subject.of("skeleton-kind", "skeleton-name")


@pytest.mark.parametrize("check", checks("skeleton-kind"), ids=str)
def test_conformance(check, subject):
    check(subject)
