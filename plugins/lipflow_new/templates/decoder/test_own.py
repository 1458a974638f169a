"""What is particular to `skeleton-name`."""

import torch

from lipflow_core.testing import Subject, inputs


def test_the_mesh_is_linear_in_the_code():
    subject = Subject.of("decoder", "skeleton-name")
    decoder = subject.build(dtype=torch.float64)
    one, other = (inputs.normal(seed, 1, subject.given.code, dtype=torch.float64) for seed in (0, 1))
    between = decoder.geometry((one + other) / 2)
    torch.testing.assert_close(between, (decoder.geometry(one) + decoder.geometry(other)) / 2)
