"""Mutated specs, overrides, models, captures and results end with an exit code of the manual, and change nothing else.

`make fuzz` tries many more of the same mutants, in a process that is watched from outside.
"""

import pytest
from fuzz_mutants import KINDS
from fuzz_verdict import try_mutant

COUNT = 300


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_end_with_a_plain_answer_and_leave_all_else_alone(kind, materials, tmp_path):
    outcomes = [(seed, try_mutant(kind, seed, materials, tmp_path / "mutant")) for seed in range(COUNT)]
    failed = [f"{kind} {seed}: {outcome.about}\n{outcome.faults}" for seed, outcome in outcomes if outcome.faults]
    assert not failed, "\n".join(failed)
    # Mutations that nothing accepts, or nothing notices, would test little.
    assert len({outcome.code for _, outcome in outcomes}) > 1
