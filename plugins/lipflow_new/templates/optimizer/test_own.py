"""What is particular to `skeleton-name`."""

import torch

from lipflow_core.testing import Subject
from lipflow_core.testing.optimizer import Bowls, Walk


def test_steps_grow_while_signs_stay():
    subject = Subject.of("optimizer", "skeleton-name")
    optimizer, bowls = subject.build(), Bowls.of(subject, 1)
    walk = Walk.start(optimizer, bowls).walk(optimizer, 2)
    stays = walk.state.sign == bowls.evaluate(torch.zeros_like(walk.parameters)).gradient.sign()
    torch.testing.assert_close(walk.state.step[stays], torch.full_like(walk.state.step[stays], 0.024))
