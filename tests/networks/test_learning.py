"""Encoder and decoder together learn a few faces within few steps: initial scales and weight norm let them."""

from __future__ import annotations

from dataclasses import replace

import torch
from lipflow_dam.config import DamDecoderConfig, DamEncoderConfig
from lipflow_dam.decoder import DamDecoder
from lipflow_dam.encoder import DamEncoder
from lipflow_hmc.config import HmcEncoderConfig
from lipflow_hmc.encoder import HmcEncoder


def learn(parameters, loss, steps: int) -> tuple[float, float]:
    """The loss before and after so many steps of Adam."""
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    first = float(loss().detach())
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return first, float(loss().detach())


def test_faces_are_reconstructed(other_sizes):
    sizes = other_sizes(vertices=100, texture=8)
    encoder = DamEncoder(DamEncoderConfig(width=1 / 16, hidden=32), sizes.encoder_inputs)
    decoder = DamDecoder(DamDecoderConfig(width=1 / 4, hidden=32, start_channels=16), sizes.decoder_inputs)
    faces = sizes.observe("face", 4)
    view = torch.tensor([0.0, 0.0, 1.0]).expand(4, 1, 3)

    def loss() -> torch.Tensor:
        decoded = decoder(encoder(faces).mean, view)
        geometry = (decoded.vertices - faces.vertices).square().mean()
        return geometry + (decoded.texture[:, 0] - faces.texture).square().mean()

    first, last = learn([*encoder.parameters(), *decoder.parameters()], loss, 80)
    assert last < 0.3 * first


def test_codes_are_read_off_headset_pictures(sizes):
    encoder = HmcEncoder(HmcEncoderConfig(width=1 / 4, features=64), sizes.encoder_inputs)
    headset = sizes.observe("headset", 4)
    coarse = torch.nn.functional.interpolate(headset.images[..., :2, :2].flatten(1, 2), size=(12, 16))
    headset = replace(headset, images=coarse.unflatten(1, (3, 1)))
    code = torch.randn(4, sizes.code)

    def loss() -> torch.Tensor:
        return -encoder(headset).distribution.log_prob(code).mean() / sizes.code

    first, last = learn(encoder.parameters(), loss, 100)
    assert last < first - 2
