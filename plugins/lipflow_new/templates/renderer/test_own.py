"""What is particular to `skeleton-name`."""

import torch

from lipflow_core.testing import Subject, inputs


def test_memory_can_be_bounded_without_changing_the_picture():
    vertices, topology = inputs.sphere()
    camera = inputs.cameras(1, 1, 24, 32).flatten()
    texture = inputs.uniform(0, 1, 3, 32, 32)
    pictures = [
        Subject.of("renderer", "skeleton-name", {"chunk": chunk}).build()(vertices[None], texture, topology, camera)
        for chunk in (7, 1000)
    ]
    assert torch.equal(pictures[0].image, pictures[1].image)
