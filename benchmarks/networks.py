"""Time of the networks at preset `small`, and of our weight norm against torch's parametrisation.

    python benchmarks/networks.py --threads 1

Batch 16, 6109 vertices, texture 64², three headset pictures of 48×64, 274 keypoints, code 48. "step" is forward and
backward with gradients to every parameter; "fit" is forward and backward to the code alone. Contenders take turns
within each repeat; the figures are medians and the ratios are of medians of one run. With one thread the process's CPU
time is taken, which other processes disturb less than they do the wall clock.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from einops import rearrange
from lipflow_dam.config import DamDecoderConfig, DamEncoderConfig
from lipflow_dam.decoder import DamDecoder
from lipflow_dam.encoder import DamEncoder
from lipflow_dam.weight_norm import NormedConv, NormedLinear, NormedUpConv, WeightNormed
from lipflow_hmc.config import HmcEncoderConfig
from lipflow_hmc.encoder import HmcEncoder
from lipflow_keypoint.config import KeypointEncoderConfig
from lipflow_keypoint.encoder import KeypointEncoder
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lipflow_core.plans import DecoderInputs, EncoderInputs, Roles
from lipflow_core.records import Camera, FaceState, Keypoints, Views

BATCH, CODE, VERTICES, TEXTURE, KEYPOINTS = 16, 48, 6109, 64, 274
HEADSET = (3, 1, 48, 64)


class TexelBias(nn.Module):
    """torch's transposed convolution, then a bias per texel."""

    def __init__(self, up: nn.Module, bias: Tensor):
        super().__init__()
        self.up = up
        self.bias = nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x) + rearrange(self.bias, "h w c -> c h w")


def with_torchs_weight_norm(module: nn.Module) -> None:
    """Replace each weight-normed layer within a module by torch's, of the same weights."""
    for name, layer in module.named_children():
        if isinstance(layer, WeightNormed):
            setattr(module, name, torchs(layer))
        else:
            with_torchs_weight_norm(layer)


def torchs(layer: WeightNormed) -> nn.Module:
    """The same layer by `torch.nn.utils.parametrizations.weight_norm`, one norm for the whole tensor."""
    shape = layer.weight.shape
    match layer:
        case NormedLinear():
            plain = nn.Linear(shape[1], shape[0])
        case NormedConv():
            plain = nn.Conv2d(shape[1], shape[0], 4, 2, 1)
        case NormedUpConv():
            plain = nn.ConvTranspose2d(shape[0], shape[1], 4, 2, 1, bias=False)
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
        if plain.bias is not None:
            plain.bias.copy_(layer.bias)
    normed = weight_norm(plain, dim=None)
    return TexelBias(normed, layer.bias) if isinstance(layer, NormedUpConv) else normed


def observations() -> dict[str, object]:
    """Random observations of each modality."""
    views, colours, height, width = HEADSET
    camera = Camera(torch.eye(3).expand(BATCH, views, 3, 3), torch.eye(3, 4).expand(BATCH, views, 3, 4), height, width)
    images = torch.rand(BATCH, views, colours, height, width)
    return {
        "face": FaceState(torch.randn(BATCH, VERTICES, 3), torch.randn(BATCH, 3, TEXTURE, TEXTURE)),
        "headset": Views(images, camera, images[:, :, 0]),
        "keypoints": Keypoints(
            torch.rand(BATCH, KEYPOINTS, 2) * width,
            torch.ones(BATCH, KEYPOINTS),
            camera.apply(lambda tensor: tensor[:, 0]),
        ),
    }


def encoding_step(encoder: nn.Module, observation: object) -> Callable[[], None]:
    """Forward and backward of an encoder."""

    def run() -> None:
        encoder.zero_grad()
        encoding = encoder(observation)
        (encoding.mean.sum() + encoding.log_std.sum() + encoding.features.square().sum()).backward()

    return run


def decoding_step(decoder: nn.Module, code: Tensor, views: int) -> Callable[[], None]:
    """Forward and backward of a decoder, to the code and, unless frozen, to its parameters."""
    directions = nn.functional.normalize(torch.randn(BATCH, views, 3), dim=-1)

    def run() -> None:
        decoder.zero_grad()
        code.grad = None
        face = decoder(code, directions)
        torch.autograd.backward((face.vertices, face.texture), (face.vertices.detach(), face.texture.detach()))

    return run


def medians(contenders: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median milliseconds of each, the contenders taking turns."""
    for function in contenders.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, function in contenders.items():
            start = clock()
            function()
            times[name].append(1e3 * (clock() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    given = EncoderInputs(
        code=CODE,
        observations={
            "face": {"vertices": (VERTICES, 3), "texture": (3, TEXTURE, TEXTURE)},
            "headset": {"images": HEADSET},
            "keypoints": {"points": (KEYPOINTS, 2)},
        },
        roles=Roles(surface="face", training_views="dome", scored_view="frontal"),
    )
    observed = observations()
    code = torch.randn(BATCH, CODE, requires_grad=True)

    def encoder(seed: int = 0) -> DamEncoder:
        torch.manual_seed(seed)
        return DamEncoder(DamEncoderConfig(**DamEncoderConfig.presets["small"]), given)

    def decoder(seed: int = 0) -> DamDecoder:
        torch.manual_seed(seed)
        config = DamDecoderConfig(**DamDecoderConfig.presets["small"])
        return DamDecoder(config, DecoderInputs(code=CODE, vertices=VERTICES, texture=(3, TEXTURE, TEXTURE)))

    torchs_encoder, torchs_decoder, torchs_frozen = encoder(), decoder(), decoder()
    for module in (torchs_encoder, torchs_decoder, torchs_frozen):
        with_torchs_weight_norm(module)
    torchs_frozen.requires_grad_(False)
    hmc = HmcEncoder(HmcEncoderConfig(**HmcEncoderConfig.presets["small"]), given)
    keypoint = KeypointEncoder(KeypointEncoderConfig(**KeypointEncoderConfig.presets["small"]), given)
    taken = medians(
        {
            "encoder dam, step": encoding_step(encoder(), observed["face"]),
            "encoder dam, step, torch's weight norm": encoding_step(torchs_encoder, observed["face"]),
            "decoder dam, step": decoding_step(decoder(), code, 1),
            "decoder dam, step, torch's weight norm": decoding_step(torchs_decoder, code, 1),
            "decoder dam, fit, 3 views": decoding_step(decoder().requires_grad_(False), code, 3),
            "decoder dam, fit, 3 views, torch's weight norm": decoding_step(torchs_frozen, code, 3),
            "encoder hmc, step": encoding_step(hmc, observed["headset"]),
            "encoder keypoint, step": encoding_step(keypoint, observed["keypoints"]),
        },
        arguments.repeats,
        time.process_time if arguments.threads == 1 else time.perf_counter,
    )
    print(f"preset small, batch {BATCH}, {arguments.threads} thread(s), torch {torch.__version__}")
    for name, milliseconds in taken.items():
        theirs = taken.get(f"{name}, torch's weight norm")
        print(
            f"  {name:<48}{milliseconds:7.1f} ms" + (f"   torch's takes ×{theirs / milliseconds:.2f}" if theirs else "")
        )


if __name__ == "__main__":
    main()
