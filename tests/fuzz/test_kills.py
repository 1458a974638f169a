"""Long commands that are killed at random moments go on to the same results; `make kill` does so 100 times for each.

Training has tests of its own, in tests/training/test_resume.py.
"""

import pytest
from kill_run import LONG, kill_often


@pytest.mark.parametrize("command", sorted(LONG.keys() - {"train"}))
def test_killed_three_times_it_writes_what_an_undisturbed_run_writes(command, materials, tmp_path):
    assert kill_often(command, 3, materials, tmp_path) == []
