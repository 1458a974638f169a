"""What is particular to `skeleton-name`."""

import torch

from lipflow_core.testing import Subject
from lipflow_core.testing.states import scene


def test_the_tracked_mesh_itself_has_no_loss():
    subject = Subject.of("objective", "skeleton-name")
    same = scene(subject, 2, true=True)
    loss = subject.build(dtype=torch.float64)(same.state, same.target)
    torch.testing.assert_close(loss, torch.zeros(2, dtype=torch.float64))
