"""Wrong decoders."""

from __future__ import annotations

from dataclasses import replace

import torch
from lipflow_dam.decoder import DamDecoder

from lipflow_core.interfaces import Foldable


class Single(DamDecoder):
    tile = None

    def decode(self, code, view_direction):
        face = super().decode(code, view_direction)
        return replace(face, texture=face.texture.float())


class NeverBlind(DamDecoder):
    def decode(self, code, view_direction):
        if view_direction.shape[1] == 0:
            raise ValueError("no views")
        return super().decode(code, view_direction)


class OtherMesh(DamDecoder):
    def geometry(self, code):
        return super().geometry(code) + 1


class Blended(DamDecoder):
    tile = None

    def decode(self, code, view_direction):
        face = super().decode(code, view_direction)
        return replace(face, texture=face.texture + face.texture.mean(1, keepdim=True))


class Shifted(DamDecoder):
    """Decodes the tile below in place of each tile."""

    def texture_tiles(self, code, view_direction, place):
        last = self.given.texture[-1] // self.tile - 1
        below = (place + torch.tensor([1, 0, 0, 0])).clamp(max=torch.tensor([last, last, 2**31, 2**31]))
        return super().texture_tiles(code, view_direction, below)


class Mute(DamDecoder):
    """Decodes every code as ones."""

    tile = None

    def decode(self, code, view_direction):
        return super().decode(torch.ones_like(code), view_direction)

    def geometry(self, code):
        return super().geometry(torch.ones_like(code))


class Distant(DamDecoder):
    def _mesh(self, hidden):
        return super()._mesh(hidden) + 10


class Misfolded(Foldable, DamDecoder):
    """Computes something else from its weights once they are constant."""

    offset = 0.0

    def fold(self):
        self.offset = 1.0

    def unfold(self):
        self.offset = 0.0

    def _mesh(self, hidden):
        return super()._mesh(hidden) + self.offset


class StaysFolded(Misfolded):
    def fold(self):
        pass

    def unfold(self):
        self.offset = 1.0
