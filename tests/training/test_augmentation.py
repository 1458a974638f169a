"""Augmentation changes what the driving encoder sees, alike wherever a sample stands in a batch."""

import numpy as np
import pytest
import torch
from lipflow_core.training.augmentation import augment

from lipflow_core.specs.model import Augmentation
from lipflow_core.testing import inputs
from lipflow_core.training.randomness import Draw

NOTHING = {"gain": 0, "offset": 0, "noise": 0, "shift": 0, "keypoints": 0}


def draw(*indices: int, epoch: int = 0) -> Draw:
    places = np.array(indices)
    return Draw(places, np.full_like(places, epoch), np.zeros((len(places), 0), dtype=np.int64))


@pytest.mark.parametrize("name", ["headset", "keypoints"])
def test_a_sample_is_changed_alike_in_any_batch(name):
    frame = inputs.frame(3)
    together = augment(frame[name], Augmentation(), 0, 0, draw(5, 6, 7))
    alone = augment(frame[name].rows(torch.tensor([1])), Augmentation(), 0, 0, draw(6))
    label = "images" if name == "headset" else "points"
    assert torch.equal(getattr(together, label)[1], getattr(alone, label)[0])
    other_epoch = augment(frame[name], Augmentation(), 0, 0, draw(5, 6, 7, epoch=1))
    assert not torch.equal(getattr(together, label), getattr(other_epoch, label))


@pytest.mark.parametrize("name", ["headset", "keypoints", "face"])
def test_without_options_nothing_changes(name):
    observation = inputs.frame(2)[name]
    changed = augment(observation, Augmentation(**NOTHING), 0, 0, draw(0, 1))
    before, after = [], []
    observation.apply(lambda tensor: before.append(tensor) or tensor)
    changed.apply(lambda tensor: after.append(tensor) or tensor)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_shifted_camera_projects_where_the_picture_moved():
    headset = inputs.frame(4)["headset"]
    shifted = augment(headset, Augmentation(**{**NOTHING, "shift": 0.2}), 0, 0, draw(0, 1, 2, 3))
    moved = shifted.camera.intrinsics - headset.camera.intrinsics
    assert moved[..., :2, 2].abs().max() >= 2
    height, width = headset.camera.height, headset.camera.width
    for sample in range(4):
        for view in range(3):
            dx, dy = moved[sample, view, :2, 2].int().tolist()
            y, x = slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0))
            source_y, source_x = slice(y.start - dy, y.stop - dy), slice(x.start - dx, x.stop - dx)
            wanted = headset.images[sample, view, :, source_y, source_x]
            assert torch.equal(shifted.images[sample, view, :, y, x], wanted)


def test_gain_and_offset_are_of_whole_pictures():
    headset = inputs.frame(2)["headset"].apply(lambda tensor: tensor)
    dim = type(headset)(0.3 + 0.2 * headset.images, headset.camera, headset.mask)
    changed = augment(dim, Augmentation(**{**NOTHING, "gain": 0.1, "offset": 0.02}), 0, 0, draw(0, 1))
    for before, after in zip(dim.images.flatten(0, 1), changed.images.flatten(0, 1), strict=True):
        slope = (after.max() - after.min()) / (before.max() - before.min())
        torch.testing.assert_close(after, slope * before + (after.mean() - slope * before.mean()))
    assert changed.images.std(dim=(2, 3, 4)).unique().numel() == 6
