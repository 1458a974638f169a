"""What is particular to `skeleton-name`."""

from dataclasses import replace

import torch

from lipflow_core.testing import Subject


def test_hidden_keypoints_are_not_looked_at():
    subject = Subject.of("encoder", "skeleton-name")
    encoder = subject.build()
    keypoints = subject.world.frame(2)[encoder.modality]
    visible, points = keypoints.visible.clone(), keypoints.points.clone()
    visible[:, 0] = 0
    points[:, 0] += 100
    one = encoder(replace(keypoints, visible=visible))
    other = encoder(replace(keypoints, visible=visible, points=points))
    torch.testing.assert_close(one.mean, other.mean)
