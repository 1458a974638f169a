"""What is particular to `skeleton-name`."""

from dataclasses import replace

import torch

from lipflow_core.testing import Subject, inputs


def test_hidden_keypoints_are_not_looked_at():
    encoder = Subject.of("encoder", "skeleton-name").build()
    keypoints = inputs.frame(2)["keypoints"]
    visible = keypoints.visible.clone()
    visible[:, 0] = 0
    points = keypoints.points.clone()
    points[:, 0] += 100
    one = encoder(replace(keypoints, visible=visible))
    other = encoder(replace(keypoints, visible=visible, points=points))
    torch.testing.assert_close(one.mean, other.mean)
