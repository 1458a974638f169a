"""Scores of decoded codes against what the dome recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from einops import rearrange, reduce
from torch import Tensor

from lipflow_core.avatar import Avatar
from lipflow_core.evaluation.metrics import geometry_error, psnr, ssim, vertex_distance, wholly_shown
from lipflow_core.records import Frame, Record


@dataclass(frozen=True)
class Scores(Record):
    """Scores of B frames; see `lipflow_core.evaluation.DEFINITIONS`.

    Args:
        psnr: (B,) dB, averaged over the frame's pictures.
        ssim: (B,), averaged over the frame's pictures.
        geom: (B,) mean squared error of standardised vertices; NaN where the frame has no tracked mesh.
        millimetres: (B,) mean distance of vertices; NaN likewise.
    """

    psnr: Tensor
    ssim: Tensor
    geom: Tensor
    millimetres: Tensor

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Scores of several batches as one."""
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))


@torch.no_grad()
def score(avatar: Avatar, code: Tensor, frame: Frame, view: str) -> tuple[Scores, Tensor]:
    """Decode codes, draw them as the observation `view` was taken and compare.

    Args:
        avatar: The assembled model, in evaluation mode.
        code: (B, D).
        frame: B frames with `view`, and "face" for the geometry.
        view: An observation of colour pictures, such as "frontal".

    Returns:
        The scores, and the pictures (B, N, 3, H, W) in [0, 1].
    """
    seen = frame[view].to(code.device)
    face = avatar.decode(code, seen.camera)
    pictures = avatar.render(face, seen.camera).image.clamp(0, 1)
    count = seen.images.shape[1]
    targets = rearrange(seen.images, "b n c h w -> (b n) c h w")
    masks = rearrange(wholly_shown(seen.mask), "b n h w -> (b n) h w")
    unknown = code.new_full((code.shape[0],), torch.nan)
    geom, millimetres = unknown, unknown
    if "face" in frame.observations:
        tracked = frame["face"].vertices.to(code.device)
        geom = geometry_error(face.vertices, tracked, avatar.template)
        millimetres = vertex_distance(face.vertices, tracked)
    scores = Scores(
        psnr=reduce(psnr(pictures, targets, masks), "(b n) -> b", "mean", n=count),
        ssim=reduce(ssim(pictures, targets, masks), "(b n) -> b", "mean", n=count),
        geom=geom,
        millimetres=millimetres,
    )
    return scores, rearrange(pictures, "(b n) c h w -> b n c h w", n=count)
