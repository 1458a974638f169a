"""What is particular to `skeleton-name`."""

import torch

from lipflow_core.testing import Subject, inputs


def test_two_steps_transform_every_dimension():
    subject = Subject.of("flow", "skeleton-name", {"steps": 2})
    flow = subject.build(jitter=0.2)
    code = inputs.normal(0, 1, subject.given.features)
    moved, _ = flow(code, inputs.normal(1, 1, subject.given.context))
    assert (torch.abs(moved - code) > 0).all()
