"""What is particular to `skeleton-name`."""

from dataclasses import replace

import torch

from lipflow_core.records import FaceState
from lipflow_core.testing import Subject
from lipflow_core.testing.states import scene


def test_a_single_vertex_far_off_does_not_count():
    subject = Subject.of("metric", "skeleton-name")
    seen = scene(subject, 2, true=True)
    vertices = seen.state.face.vertices.detach() + torch.tensor([3.0, 0, 4])
    vertices[:, 0] += 1000
    score = subject.build(dtype=torch.float64)(replace(seen.state, face=FaceState(vertices)), seen.target)
    torch.testing.assert_close(score, torch.full((2,), 5.0, dtype=torch.float64))
