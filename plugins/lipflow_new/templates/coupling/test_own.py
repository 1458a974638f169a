"""What is particular to `skeleton-name`."""

import torch

from lipflow_core.testing import Subject, inputs


def test_it_starts_as_the_identity():
    subject = Subject.of("coupling", "skeleton-name")
    code, context = inputs.normal(0, 3, subject.given.features), inputs.normal(1, 3, subject.given.context)
    same, log_abs_det = subject.build()(code, context)
    torch.testing.assert_close(same, code)
    torch.testing.assert_close(log_abs_det, torch.zeros(3))
