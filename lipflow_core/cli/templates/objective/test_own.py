"""What is particular to `skeleton-name`."""

from dataclasses import replace

import torch

from lipflow_core.records import FaceState
from lipflow_core.testing import Subject
from lipflow_core.testing.objective import state_and_target


def test_the_tracked_mesh_itself_has_no_loss():
    objective = Subject.of("objective", "skeleton-name").build()
    state, target, _ = state_and_target(2)
    same = replace(state, face=FaceState(target[objective.given.roles.surface].vertices))
    torch.testing.assert_close(objective(same, target), torch.zeros(2, dtype=torch.float64))
