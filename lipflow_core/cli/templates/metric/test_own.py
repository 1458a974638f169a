"""What is particular to `skeleton-name`."""

from dataclasses import replace

import torch

from lipflow_core.records import FaceState
from lipflow_core.testing import Subject
from lipflow_core.testing.objective import state_and_target


def test_a_single_vertex_far_off_does_not_count():
    metric = Subject.of("metric", "skeleton-name").build()
    state, target, _ = state_and_target(2)
    vertices = target[metric.given.roles.surface].vertices + torch.tensor([3.0, 0, 4])
    vertices[:, 0] += 1000
    score = metric(replace(state, face=FaceState(vertices)), target)
    torch.testing.assert_close(score, torch.full((2,), 5.0, dtype=torch.float64))
