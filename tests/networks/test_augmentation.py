"""Encoders augment what they see in training, alike wherever a sample stands in a batch."""

import numpy as np
import pytest
import torch
from lipflow_hmc.augmentation import augment_pictures
from lipflow_hmc.config import PictureAugmentation

from lipflow_core.testing import Subject, inputs

NOTHING = {"gain": 0, "offset": 0, "noise": 0, "shift": 0}


def streams(*seeds: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in seeds]


def encoder(name: str, **augmentation):
    return Subject.of("encoder", name, {"augmentation": augmentation}).build()


@pytest.mark.parametrize("name", ["hmc", "keypoint"])
def test_a_sample_is_changed_alike_in_any_batch(name):
    built = encoder(name)
    observation = inputs.frame(3)[built.modality]
    together = built.augment(observation, streams(5, 6, 7))
    alone = built.augment(observation.rows(torch.tensor([1])), streams(6))
    label = "images" if name == "hmc" else "points"
    assert torch.equal(getattr(together, label)[1], getattr(alone, label)[0])
    other = built.augment(observation, streams(8, 9, 10))
    assert not torch.equal(getattr(together, label), getattr(other, label))


@pytest.mark.parametrize(("name", "options"), [("hmc", NOTHING), ("keypoint", {"noise": 0})])
def test_without_options_nothing_changes(name, options):
    built = encoder(name, **options)
    observation = inputs.frame(2)[built.modality]
    changed = built.augment(observation, streams(0, 1))
    assert all(
        torch.equal(one, other) for (_, one), (_, other) in zip(observation.tensors(), changed.tensors(), strict=True)
    )


def test_a_shifted_camera_projects_where_the_picture_moved():
    headset = inputs.frame(4)["headset"]
    shifted = augment_pictures(headset, PictureAugmentation(**{**NOTHING, "shift": 0.2}), streams(0, 1, 2, 3))
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
    headset = inputs.frame(2)["headset"]
    dim = type(headset)(0.3 + 0.2 * headset.images, headset.camera, headset.mask)
    changed = augment_pictures(dim, PictureAugmentation(**{**NOTHING, "gain": 0.1, "offset": 0.02}), streams(0, 1))
    for before, after in zip(dim.images.flatten(0, 1), changed.images.flatten(0, 1), strict=True):
        slope = (after.max() - after.min()) / (before.max() - before.min())
        torch.testing.assert_close(after, slope * before + (after.mean() - slope * before.mean()))
    assert changed.images.std(dim=(2, 3, 4)).unique().numel() == 6
