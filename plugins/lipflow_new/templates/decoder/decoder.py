"""Decoder `skeleton-name`: a linear mesh and a smooth texture."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lipflow_core.interfaces import Decoder
from lipflow_core.plans import DecoderInputs
from lipflow_core.records import FaceState

from .config import SkeletonConfig


class Skeleton(Decoder):
    """Vertices are linear in the code, as in a blendshape model; a network of code and view makes a coarse texture.

    Args:
        config: Its options.
        given: Size of the code, number of vertices, shape of the texture.
    """

    def __init__(self, config: SkeletonConfig, given: DecoderInputs):
        super().__init__(config, given)
        self.mesh = nn.Linear(given.code, 3 * given.vertices)
        self.texture = nn.Sequential(
            nn.Linear(given.code + 3, config.hidden), nn.SiLU(), nn.Linear(config.hidden, 3 * config.coarse**2)
        )

    def decode(self, code: Tensor, view_direction: Tensor) -> FaceState:
        views = view_direction.shape[1]
        seen = torch.cat([repeat(code, "b d -> b n d", n=views), view_direction], dim=-1)
        coarse = rearrange(self.texture(seen), "b n (c h w) -> (b n) c h w", c=3, h=self.config.coarse)
        return FaceState(self.geometry(code), self._enlarged(coarse).unflatten(0, (code.shape[0], views)))

    def geometry(self, code: Tensor) -> Tensor:
        return rearrange(self.mesh(code), "b (v xyz) -> b v xyz", xyz=3)

    def _enlarged(self, coarse: Tensor) -> Tensor:
        height, width = self.given.texture[1:]
        if coarse.shape[0] == 0:  # torch refuses to interpolate no pictures
            return coarse.new_zeros(0, 3, height, width)
        return interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
