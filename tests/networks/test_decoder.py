"""What the Deep Appearance Model's decoder promises."""

from __future__ import annotations

import copy

import pytest
import torch
from lipflow_dam.config import DamDecoderConfig
from lipflow_dam.decoder import DamDecoder
from safetensors.torch import load, save

from lipflow_core.plans import DecoderInputs, Mismatch


@pytest.fixture
def decoder(sizes) -> DamDecoder:
    return DamDecoder(DamDecoderConfig(**DamDecoderConfig.presets["tiny"]), sizes.decoder_inputs)


def directions(batch: int, views: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(batch, views, 3), dim=-1)


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("views", [0, 1, 4])
def test_faces_have_the_planned_shapes(decoder, sizes, batch, views):
    face = decoder(torch.randn(batch, sizes.code), directions(batch, views))
    assert face.vertices.shape == (batch, *decoder.planned.outputs["vertices"])
    assert face.texture.shape == (batch, views, *decoder.planned.outputs["texture"])


def test_every_parameter_gets_a_gradient(decoder, sizes):
    face = decoder(torch.randn(3, sizes.code), directions(3, 2))
    (face.vertices.square().sum() + face.texture.square().sum()).backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_mesh_does_not_depend_on_the_view(decoder, sizes):
    code = torch.randn(2, sizes.code)
    assert torch.equal(decoder(code, directions(2, 1)).vertices, decoder(code, directions(2, 3)).vertices)


def test_the_texture_depends_on_the_view(decoder, sizes):
    texture = decoder(torch.randn(2, sizes.code), directions(2, 2)).texture
    assert (texture[:, 0] - texture[:, 1]).abs().max() > 1e-4


def test_views_are_decoded_as_if_alone(decoder, sizes):
    code, views = torch.randn(2, sizes.code), directions(2, 3)
    together = decoder(code, views).texture
    for view in range(3):
        torch.testing.assert_close(together[:, view], decoder(code, views[:, view : view + 1]).texture[:, 0])


def test_geometry_is_the_mesh_without_the_texture(decoder, sizes):
    code = torch.randn(2, sizes.code)
    torch.testing.assert_close(decoder.geometry(code), decoder(code, directions(2, 1)).vertices)


def test_first_faces_are_near_the_mean(other_sizes):
    sizes = other_sizes(code=48, vertices=300, texture=64)
    decoder = DamDecoder(DamDecoderConfig(**DamDecoderConfig.presets["small"]), sizes.decoder_inputs)
    face = decoder(torch.randn(8, sizes.code), directions(8, 1))
    assert 0.01 < face.vertices.std() < 0.3
    assert 0.01 < face.texture.std() < 0.3


def test_each_texel_has_a_bias_of_its_own(decoder, sizes):
    bias = decoder.texture_branch[-1].bias
    assert bias.shape == (sizes.texture, sizes.texture, 3)
    code, view = torch.randn(1, sizes.code), directions(1, 1)
    with torch.no_grad():
        before = decoder(code, view).texture
        bias[2, 5, 1] += 1
        changed = decoder(code, view).texture - before
    assert changed[0, 0, 1, 2, 5] == pytest.approx(1, abs=1e-5)
    assert changed.abs().sum() == pytest.approx(1, abs=1e-4)


def test_double_precision_gradients_are_exact(other_sizes):
    sizes = other_sizes(code=2, vertices=2, texture=8)
    decoder = DamDecoder(
        DamDecoderConfig(width=1 / 16, hidden=3, view_hidden=2, start_channels=2), sizes.decoder_inputs
    )
    code = torch.randn(2, sizes.code, dtype=torch.float64, requires_grad=True)
    view = directions(2, 2).double().requires_grad_()

    def faces(code, view):
        face = decoder.double()(code, view)
        return face.vertices, face.texture

    assert torch.autograd.gradcheck(faces, (code, view), fast_mode=True)


def test_saved_and_loaded_it_decodes_the_same(decoder, sizes):
    other = copy.deepcopy(decoder)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    other.load_state_dict(load(save(decoder.state_dict())))
    code, view = torch.randn(2, sizes.code), directions(2, 1)
    assert torch.equal(other(code, view).texture, decoder(code, view).texture)


def test_the_ladder_is_the_papers_at_1024():
    assert DamDecoderConfig().ladder((3, 1024, 1024)) == (128, 128, 64, 64, 32, 32, 32, 3)


@pytest.mark.parametrize(
    ("options", "texture", "says"),
    [
        ({}, (3, 48, 48), "use 32 or 64"),
        ({}, (3, 64, 32), "takes a square RGB texture"),
        ({"channels": (8, 3)}, (3, 64, 64), "lists 2 layers, but the capture's texture 64×64 needs 4"),
        ({"channels": (8, 8)}, (3, 16, 16), "must end in 3"),
    ],
)
def test_what_does_not_fit_is_refused(options, texture, says):
    with pytest.raises(Mismatch, match=says):
        DamDecoderConfig(**options).plan(DecoderInputs(code=8, vertices=10, texture=texture))
