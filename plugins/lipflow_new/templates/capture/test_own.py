"""What is particular to `skeleton-name`."""

import torch

from lipflow_core.testing import Subject


def test_puffing_moves_the_middle_towards_the_cameras():
    capture = Subject.of("capture", "skeleton-name").build()
    flat, puffed = capture.face(torch.tensor([[0.0, 0.0], [1.0, 0.0]])).vertices
    assert (puffed[:, 2] - flat[:, 2]).max() > 5
    assert (puffed[:, 2] >= flat[:, 2]).all()
