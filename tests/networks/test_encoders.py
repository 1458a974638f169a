"""What every encoder must do, asked of each; and what each promises on its own."""

from __future__ import annotations

import copy

import pytest
import torch
from lipflow_dam.config import DamEncoderConfig
from lipflow_dam.encoder import DamEncoder
from lipflow_hmc.config import HmcEncoderConfig
from lipflow_hmc.encoder import HmcEncoder
from lipflow_keypoint.config import KeypointEncoderConfig
from lipflow_keypoint.encoder import KeypointEncoder, normalized_points
from safetensors.torch import load, save

from lipflow_core.plans import EncoderInputs, Mismatch
from lipflow_core.records import Camera, Keypoints, Views

ENCODERS = {
    "dam": (DamEncoder, DamEncoderConfig),
    "dam-ladder": (DamEncoder, lambda **options: DamEncoderConfig(**{**options, "channels": (4, 6)})),
    "hmc": (HmcEncoder, HmcEncoderConfig),
    "hmc-dense": (HmcEncoder, lambda **options: HmcEncoderConfig(**{**options, "channels": (4, 5), "features": 7})),
    "keypoint": (KeypointEncoder, KeypointEncoderConfig),
    "keypoint-no-blocks": (KeypointEncoder, lambda **o: KeypointEncoderConfig(**{**o, "blocks": 0})),
}
TINY = {
    name: KeypointEncoderConfig.presets["tiny"]
    if "keypoint" in name
    else (HmcEncoderConfig if "hmc" in name else DamEncoderConfig).presets["tiny"]
    for name in ENCODERS
}


@pytest.fixture(params=ENCODERS)
def encoder(request, sizes):
    implementation, config = ENCODERS[request.param]
    return implementation(config(**TINY[request.param]), sizes.encoder_inputs)


@pytest.mark.parametrize("batch", [0, 1, 2, 5])
@pytest.mark.parametrize("training", [True, False])
def test_encoding_has_the_planned_shapes(encoder, sizes, batch, training):
    encoder.train(training)
    encoding = encoder(sizes.observe(encoder.modality, batch))
    outputs = encoder.planned.outputs
    assert encoding.mean.shape == (batch, *outputs["mean"]) == (batch, sizes.code)
    assert encoding.log_std.shape == (batch, *outputs["log_std"])
    assert encoding.features.shape == (batch, *outputs["features"])


def test_plan_names_what_it_consumes(encoder, sizes):
    for name, shape in encoder.planned.inputs.items():
        observation, tensor = name.split(".", 1)
        assert observation == encoder.modality
        assert sizes.observations[observation][tensor] == shape


def test_every_parameter_gets_a_gradient(encoder, sizes):
    encoding = encoder(sizes.observe(encoder.modality, 4))
    (encoding.mean.square().sum() + encoding.log_std.square().sum()).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_rows_do_not_depend_on_each_other_in_evaluation(encoder, sizes):
    encoder.eval()
    observation = sizes.observe(encoder.modality, 3)
    together, alone = encoder(observation), encoder(observation.rows(torch.tensor([1])))
    torch.testing.assert_close(together.mean[1:2], alone.mean)
    torch.testing.assert_close(together.features[1:2], alone.features)


def test_the_first_posterior_is_near_a_standard_normal(encoder, sizes):
    encoding = encoder(sizes.observe(encoder.modality, 64))
    assert encoding.mean.abs().max() < 1
    assert encoding.log_std.abs().max() < 0.5


def test_double_precision(encoder, sizes):
    encoding = encoder.double()(sizes.observe(encoder.modality, 2, torch.float64))
    assert encoding.mean.dtype == encoding.log_std.dtype == encoding.features.dtype == torch.float64


def test_saved_and_loaded_it_encodes_the_same(encoder, sizes):
    observation = sizes.observe(encoder.modality, 4)
    encoder(observation)  # moves running statistics, where there are any
    encoder.eval()
    other = copy.deepcopy(encoder)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    other.load_state_dict(load(save(encoder.state_dict())))
    assert torch.equal(other(observation).mean, encoder(observation).mean)


def test_encoding_leaves_the_observation_as_it_was(encoder, sizes):
    observation = sizes.observe(encoder.modality, 2)
    before = copy.deepcopy(observation)
    encoder(observation)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(observation.tensors(), before.tensors(), strict=True))


@pytest.mark.parametrize("name", ["hmc", "keypoint"])
def test_a_capture_without_the_observation_is_refused(name, sizes):
    config = ENCODERS[name][1]()
    with pytest.raises(Mismatch, match=r"which the capture does not have; it offers 'audio'"):
        config.plan(
            EncoderInputs(code=8, observations={"audio": {"samples": (100,)}}, roles=sizes.encoder_inputs.roles)
        )


@pytest.mark.parametrize("side", [8, 16, 32, 64, 256, 1024, 2048])
def test_the_dam_ladder_follows_the_texture(side):
    ladder = DamEncoderConfig().ladder((3, side, side))
    assert side >> len(ladder) == 4


def test_the_dam_ladder_is_the_papers_at_1024():
    assert DamEncoderConfig().ladder((3, 1024, 1024)) == (32, 32, 64, 64, 128, 128, 256, 256)


@pytest.mark.parametrize(("side", "says"), [(48, "use 32 or 64"), (4, "use 8"), (100, "64 or 128")])
def test_a_texture_that_cannot_be_halved_is_refused_with_what_fits(side, says):
    with pytest.raises(Mismatch, match=says):
        DamEncoderConfig().ladder((3, side, side))


def test_a_dam_ladder_of_the_wrong_length_is_refused_with_the_right_one():
    with pytest.raises(Mismatch, match=r"lists 2 layers, but the capture's texture 64×64 needs 4"):
        DamEncoderConfig(channels=(8, 8)).ladder((3, 64, 64))


def test_attention_is_a_convex_combination_of_the_views(sizes):
    encoder = HmcEncoder(HmcEncoderConfig(**HmcEncoderConfig.presets["tiny"]), sizes.encoder_inputs)
    weights = encoder.view_weights()
    assert weights.shape == (encoder.config.features, sizes.views)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(encoder.config.features))


def test_identical_views_through_identical_blocks_need_no_attention(sizes):
    encoder = HmcEncoder(HmcEncoderConfig(**HmcEncoderConfig.presets["tiny"]), sizes.encoder_inputs)
    for convolution in encoder.blocks[::2]:
        first = convolution.weight.data.chunk(sizes.views)[0]
        convolution.weight.data = first.repeat(sizes.views, 1, 1, 1)
    headset = sizes.observe("headset", 2)
    same = Views(headset.images[:, :1].expand_as(headset.images), headset.camera, headset.mask)
    before = encoder(same).features
    torch.nn.init.normal_(encoder.attention)
    torch.testing.assert_close(encoder(same).features, before)


def test_each_view_has_weights_of_its_own(sizes):
    encoder = HmcEncoder(HmcEncoderConfig(**HmcEncoderConfig.presets["tiny"]), sizes.encoder_inputs)
    headset = sizes.observe("headset", 2)
    swapped = Views(headset.images.flip(1), headset.camera, headset.mask)
    assert not torch.allclose(encoder(headset).features, encoder(swapped).features)


@pytest.mark.parametrize("picture", [(48, 64), (480, 640), (96, 96), (2, 2), (31, 77), (400, 400)])
@pytest.mark.parametrize("features", [1024, 100])
def test_headset_pictures_of_any_size_are_taken(other_sizes, picture, features):
    config = HmcEncoderConfig(features=features, width=1 / 16)
    sizes = other_sizes(views=2, height=picture[0], width=picture[1])
    encoder = HmcEncoder(config, sizes.encoder_inputs)
    assert encoder(sizes.observe("headset", 1)).features.shape == (1, features)


def test_the_hmc_ladder_is_the_papers_at_480_by_640():
    assert HmcEncoderConfig().ladder((3, 1, 480, 640)) == (32, 32, 32, 64, 64, 64, 128, 512)


def test_more_convolutions_than_the_picture_can_be_halved_are_refused():
    with pytest.raises(Mismatch, match=r"lists 4 layers, but the capture's headset pictures of 12×16 can be halved 3"):
        HmcEncoderConfig(channels=(4, 4, 4, 4)).ladder((3, 1, 12, 16))


def test_keypoints_are_scaled_by_the_picture(sizes):
    camera: Camera = sizes.camera(1)
    corners = torch.tensor([[[-0.5, -0.5], [sizes.width - 0.5, sizes.height - 0.5]]])
    scaled = normalized_points(Keypoints(corners, torch.ones(1, 2), camera))
    torch.testing.assert_close(scaled, torch.tensor([[[-1.0, -1.0], [1.0, 1.0]]]))


def test_hidden_keypoints_do_not_matter(sizes):
    encoder = KeypointEncoder(KeypointEncoderConfig(**KeypointEncoderConfig.presets["tiny"]), sizes.encoder_inputs)
    encoder.eval()
    seen = sizes.observe("keypoints", 2)
    visible = seen.visible.clone()
    visible[:, 1] = 0
    moved = seen.points.clone()
    moved[:, 1] += 3
    before = encoder(Keypoints(seen.points, visible, seen.camera)).mean
    torch.testing.assert_close(encoder(Keypoints(moved, visible, seen.camera)).mean, before)


def test_a_training_batch_of_one_uses_running_statistics(sizes):
    encoder = KeypointEncoder(KeypointEncoderConfig(**KeypointEncoderConfig.presets["tiny"]), sizes.encoder_inputs)
    one = sizes.observe("keypoints", 1)
    training = encoder.train()(one).mean
    torch.testing.assert_close(training, encoder.eval()(one).mean)
