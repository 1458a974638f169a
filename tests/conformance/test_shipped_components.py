"""Every shipped component fulfils its contract."""

from __future__ import annotations

from functools import cache

import pytest

from lipflow_core.registry import default_registry
from lipflow_core.testing import Subject, checks

SUBJECTS = {
    f"{component.kind}-{component.name}": (component.kind, component.name) for component in default_registry().components()
}


@cache
def subject(name: str) -> Subject:
    return Subject.of(*SUBJECTS[name])


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{name}: {check}")
        for name, (kind, _) in SUBJECTS.items()
        for check in checks(kind)
    ],
)
def test_conformance(name, check):
    check(subject(name))
