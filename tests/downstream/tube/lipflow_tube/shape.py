"""The tube itself: its mesh, how it bends, and the colour of its surface."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import normalize

from lipflow_core.records import Record, Topology

from .config import RINGS, SECTORS

LENGTH, RADIUS = 200.0, 30.0
"""Millimetres, at rest."""

LIGHT = (0.4, 0.8, 0.45)
"""Direction to the light, in the tube's frame; not normalised."""


@dataclass(frozen=True)
class Posture(Record):
    """What changes from frame to frame.

    Args:
        bend: (B, 2) angle between the tube's two ends, about z and about x, radians: it leans toward +x and toward +z.
        twist: (B,) angle by which the upper end is turned about the tube's axis, radians.
        swelling: (B,) natural logarithm of the radius over that at rest.
    """

    bend: Tensor
    twist: Tensor
    swelling: Tensor

    @classmethod
    def draw(cls, generator: np.random.Generator, frames: int) -> Posture:
        """Draw a sequence of postures that leads evenly from a random one to another."""
        ends = generator.normal(size=(2, 4)) * np.array([0.6, 0.6, 0.6, 0.2])
        path = torch.from_numpy(np.linspace(*ends, frames)).float()
        return cls(path[:, :2], path[:, 2], path[:, 3])


def mesh() -> tuple[Topology, Tensor, Tensor]:
    """Make the mesh of an open tube.

    Returns:
        Its topology; and of each vertex the angle around the tube, (V,) radians, and the share of the length, (V,).
    """
    ring, sector = torch.meshgrid(torch.arange(RINGS), torch.arange(SECTORS), indexing="ij")
    uv_ring, uv_sector = torch.meshgrid(torch.arange(RINGS), torch.arange(SECTORS + 1), indexing="ij")
    uv = torch.stack([uv_sector / SECTORS, uv_ring / (RINGS - 1)], dim=-1).flatten(0, 1)

    def triangles(columns: int) -> Tensor:
        """Two for each patch between two rings; `columns` is the number of vertices, or of uv, in a ring."""
        low, left = ring[:-1], sector[:-1]
        corner = {(up, right): (low + up) * columns + (left + right) % columns for up in (0, 1) for right in (0, 1)}
        one = torch.stack([corner[0, 0], corner[1, 0], corner[1, 1]], dim=-1)
        other = torch.stack([corner[0, 0], corner[1, 1], corner[0, 1]], dim=-1)
        return torch.cat([one.flatten(0, 1), other.flatten(0, 1)])

    angle, share = sector * (2 * math.pi / SECTORS), ring / (RINGS - 1)
    return Topology(triangles(SECTORS), uv, triangles(SECTORS + 1)), angle.flatten(), share.flatten()


def texels(size: int) -> tuple[Tensor, Tensor]:
    """Give the angle around the tube, radians, and the share of the length of each texel; (T²,) each, row by row."""
    centres = (torch.arange(size) + 0.5) / size
    share, turn = torch.meshgrid(1 - centres, centres, indexing="ij")
    return 2 * math.pi * turn.flatten(), share.flatten()


def bend(posture: Posture, angle: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Place points of the surface: the tube's axis is an arc of constant curvature, whose middle is near the origin.

    Args:
        posture: B postures.
        angle: (P,) around the tube, radians.
        share: (P,) of the length, 0 at the lower end.

    Returns:
        Points (B, P, 3) in millimetres and unit normals (B, P, 3) that point outward.
    """
    total = posture.bend.norm(dim=1)[:, None]  # the angle between the two ends
    toward = torch.atan2(posture.bend[:, 1], posture.bend[:, 0])[:, None]  # from x to z
    turned = angle + posture.twist[:, None] * share - toward
    leaning = total * share
    across, aside = turned.cos(), turned.sin()
    # In the plane in which the tube bends: along `toward`, up, and perpendicular to that plane.
    normals = torch.stack([across * leaning.cos(), -across * leaning.sin(), aside], dim=-1)
    half = leaning / 2
    arc = torch.sinc(half / math.pi) * share * LENGTH  # the chord from the lower end
    axis = torch.stack([arc * half.sin(), arc * half.cos() - LENGTH / 2, torch.zeros_like(arc)], dim=-1)
    radius = RADIUS * posture.swelling.exp()[:, None, None]
    cosine, sine, zero, one = toward.cos(), toward.sin(), torch.zeros_like(toward), torch.ones_like(toward)
    basis = torch.stack([cosine, zero, sine, zero, one, zero, -sine, zero, cosine], dim=-1).view(-1, 3, 3)
    return (axis + radius * normals) @ basis, normals @ basis


def colour(posture: Posture, seed: int, size: int, viewpoints: Tensor) -> Tensor:
    """Colour the texture: a pattern, creases where the tube is compressed, and light with a highlight that moves.

    Args:
        posture: B postures.
        seed: Of the pattern.
        size: Height and width T of the texture.
        viewpoints: (N, 3) positions of the cameras, millimetres.

    Returns:
        (B, N, 3, T, T) in [0, 1].
    """
    angle, share = texels(size)
    phase = torch.from_numpy(np.random.default_rng([seed, 0]).uniform(0, 2 * math.pi, (3, 2))).float()
    waves = torch.sin(2 * angle + phase[:, :1]) + torch.sin(6 * math.pi * share + phase[:, 1:])
    pattern = 0.5 + 0.2 * waves
    facing = angle + posture.twist[:, None] * share
    compressed = (posture.bend[:, :1] * facing.cos() + posture.bend[:, 1:] * facing.sin()).clamp(min=0)
    creases = 1 - 0.5 * torch.tanh(compressed) * (0.5 + 0.5 * torch.cos(16 * math.pi * share))

    points, normals = bend(posture, angle, share)
    light = normalize(torch.tensor(LIGHT), dim=0)
    half = normalize(normalize(viewpoints[:, None] - points[:, None], dim=-1) + light, dim=-1)
    highlight = (normals[:, None] * half).sum(dim=-1).clamp(min=0) ** 8
    diffuse = 0.5 + 0.5 * (normals @ light).clamp(min=0)
    lit = (diffuse * creases)[:, None, None] * pattern + 0.4 * highlight[:, :, None]
    return rearrange(lit, "b n c (h w) -> b n c h w", h=size).clamp(0, 1)
