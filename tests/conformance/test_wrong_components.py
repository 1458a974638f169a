"""The kit can fail: each of its checks finds the component that is wrong in just that way."""

from __future__ import annotations

import pytest
from wrong import WRONG, Wrong

from lipflow_core.hooks import KINDS
from lipflow_core.testing import Subject, checks


def failures(subject: Subject) -> dict[str, str]:
    """The checks that a subject fails, and what they say."""
    found = {}
    for check in checks(subject.part.kind):
        try:
            check(subject)
        except Exception as error:
            found[str(check)] = str(error)
    return found


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.kind} {wrong.spelling}: {wrong.check}")
def test_one_check_finds_what_is_wrong_and_says_so(registry, wrong: Wrong):
    found = failures(Subject.of(wrong.kind, wrong.spelling, registry=registry))
    assert found.keys() == {wrong.check, *wrong.also}, found
    assert wrong.says in found[wrong.check]


def test_every_check_has_a_component_that_fails_it():
    by_name = {(kind, str(check)): check.function for kind in KINDS for check in checks(kind)}
    tried = {by_name[wrong.kind, wrong.check] for wrong in WRONG}
    assert not [name for name, function in by_name.items() if function not in tried]
