"""What is particular to `skeleton-name`."""

import torch

from lipflow_core.testing import Subject
from lipflow_core.testing.temporal import follows_of


def test_a_steady_pace_costs_nothing():
    subject = Subject.of("temporal", "skeleton-name")
    pace = torch.arange(5.0, dtype=torch.float64)[:, None].expand(5, subject.given.code)
    energy = subject.build(dtype=torch.float64)(pace, follows_of(5))
    torch.testing.assert_close(energy, torch.zeros(5, dtype=torch.float64))
