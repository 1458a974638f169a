"""Headset options are one block, the same in every capture that makes headset pictures."""

from __future__ import annotations

import pytest
from lipflow_dome.config import DomeConfig
from lipflow_kit.headset_options import HeadsetOptions
from lipflow_multiface.config import HeadsetConfig, MultifaceConfig


@pytest.mark.parametrize("config", [DomeConfig, MultifaceConfig])
def test_both_captures_have_the_same_options_with_the_same_words(config):
    block = config.model_fields["headset"].annotation
    for name, field in HeadsetOptions.model_fields.items():
        theirs = block.model_fields[name]
        assert (theirs.description, theirs.default, theirs.annotation) == (
            field.description,
            field.default,
            field.annotation,
        )


@pytest.mark.parametrize("preset", ["tiny", "small", "medium"])
@pytest.mark.parametrize(("config", "options"), [(DomeConfig, {}), (MultifaceConfig, {"path": "somewhere"})])
def test_one_option_of_the_block_leaves_the_presets_size(config, options, preset):
    given = {**options, "headset": {"slip": 0}}
    made = config.model_validate(given, context={"preset": preset})
    assert made.headset.slip == 0
    assert made.headset.size == HeadsetOptions.presets[preset]["size"]


def test_recorded_and_virtual_pictures_are_the_business_of_captures_on_disk_only():
    assert set(HeadsetConfig.model_fields) - set(HeadsetOptions.model_fields) == {
        "source",
        "right_eye",
        "left_eye",
        "mouth",
        "views",
        "seed",
    }
